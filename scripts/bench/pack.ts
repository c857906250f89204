/**
 * `node scripts/bench/pack.ts [--objects N] [--chunk BYTES]`: packs a database of N objects (by default a million), half of them
 * garbage, concurrently with commits, reads and a clock.
 *
 * Prints the latency of commits, reads and the event loop, with and without the pack, the heap of the
 * whole process, and the file's length before and after, compared with its live data.
 */
import { randomFillSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { pack } from '../../core/pack/pack.ts'
import { PersistentMapping } from '../../core/objects/persistent-mapping.ts'
import { Ref, type PickleValue } from '../../core/objects/pickle/value.ts'
import { encodeData, encodeRecord, ZDATA } from '../../core/objects/record.ts'
import { ROOT_OID, TID_MAX, TID_NONE, type Oid, type Tid, knownOid } from '../../store/ids.ts'
import type { ObjectChange } from '../../store/changes.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { WritableStore } from '../../store/store.ts'

const CHILDREN = 500
const COMMIT_PAUSE_MS = 5
const QUIET_MS = 3000

const { values } = parseArgs({
  options: { objects: { type: 'string', default: '1000000' }, chunk: { type: 'string', default: '1500' } },
})
const nodes = Math.ceil(Number(values.objects) / CHILDREN)
const chunkBytes = Number(values.chunk)
const directory = mkdtempSync(join(tmpdir(), 'zblkfs-pack-bench-'))
const path = join(directory, 'bench.db')
const chunk = new Uint8Array(chunkBytes)

function node(children: readonly Oid[], className: string): Uint8Array {
  const entries = children.map((oid, index): [PickleValue, PickleValue] => [
    `${index}`,
    new Ref(oid, className),
  ])
  return encodeRecord(PersistentMapping.CLASS_NAME, new Map([['data', new Map(entries)]]))
}

/** A node with its children, all data; in the second pass every other one is unlinked. */
async function fill(store: WritableStore): Promise<readonly Oid[]> {
  const made: Oid[] = []
  for (let index = 0; index < nodes; index++) {
    const first = (await store.allocateOids(CHILDREN + 1)).first
    made.push(first)
    const children = Array.from({ length: CHILDREN }, (_, child) => knownOid(first + 1 + child))
    const changes: ObjectChange[] = [
      { oid: first, base: TID_NONE, record: { head: node(children, ZDATA) } },
      ...children.map(oid => {
        randomFillSync(chunk)
        const { head, body, tail } = encodeData(
          ZDATA,
          chunk.map(byte => byte | 1),
        )
        return { oid, base: TID_NONE, record: { head, body: [body], tail } }
      }),
    ]
    await store.commit({ changes })
  }
  const root = { head: node(made, PersistentMapping.CLASS_NAME) }
  const base = await store.commit({ changes: [{ oid: ROOT_OID, base: TID_NONE, record: root }] })
  const left = made.filter((_, index) => index % 2 === 0)
  const record = { head: node(left, PersistentMapping.CLASS_NAME) }
  await store.commit({ changes: [{ oid: ROOT_OID, base, record }] })
  return left
}

/** Maximum and 99th percentile. */
class Waits {
  readonly #waits: number[] = []

  async time<T>(work: () => Promise<T>): Promise<T> {
    const start = performance.now()
    const result = await work()
    this.#waits.push(performance.now() - start)
    return result
  }

  describe(): string {
    const sorted = this.#waits.toSorted((a, b) => a - b)
    const at = (part: number): string => (sorted[Math.floor((sorted.length - 1) * part)] ?? 0).toFixed(1)
    return `median ${at(0.5)} ms, 99 % ${at(0.99)} ms, longest ${at(1)} ms (${sorted.length})`
  }
}

/** Uses the database until the signal is aborted. */
async function use(
  store: WritableStore,
  left: readonly Oid[],
  signal: AbortSignal,
  what: string,
): Promise<void> {
  const [commits, reads, loop] = [new Waits(), new Waits(), new Waits()]
  const own = (await store.allocateOids(1)).first
  let base: Tid = TID_NONE
  let heapBytes = 0
  for (let count = 0; !signal.aborted; count++) {
    const record = { head: new Uint8Array(200), body: [chunk] }
    base = await commits.time(() => store.commit({ changes: [{ oid: own, base, record }] }))
    await reads.time(() => store.load([left[count % left.length] ?? ROOT_OID], TID_MAX))
    await loop.time(() => sleep(COMMIT_PAUSE_MS))
    heapBytes = Math.max(heapBytes, process.memoryUsage.rss())
  }
  console.log(
    `${what}\n  commits     ${commits.describe()}\n  reads       ${reads.describe()}\n  ${COMMIT_PAUSE_MS} ms sleeps ${loop.describe()}`,
  )
  console.log(`  resident at most ${(heapBytes / 2 ** 20).toFixed(0)} MiB`)
}

try {
  const store = await openDatabase(path, { create: true, purpose: 'a benchmark' })
  const left = await fill(store)
  const { totalBytes = Number.NaN } = (await store.capabilities.measuring?.space()) ?? {}
  console.log(
    `${nodes * (CHILDREN + 1)} objects, half of them in use, ${(totalBytes / 2 ** 20).toFixed(0)} MiB`,
  )
  const quiet = use(store, left, AbortSignal.timeout(QUIET_MS), 'without a pack')
  await quiet
  const packed = new AbortController()
  const using = use(store, left, packed.signal, 'beside the pack')
  let report
  try {
    report = await pack(store, { from: TID_MAX })
  } finally {
    packed.abort()
    await using
  }
  const expected = left.length * CHILDREN * chunkBytes
  console.log(report)
  console.log(
    `the file is ${(report.bytesAfter / expected).toFixed(3)} of its live data, ${((nodes * (CHILDREN + 1)) / report.durationMs).toFixed(0)} objects/ms`,
  )
  await store.close()
} finally {
  rmSync(directory, { recursive: true, force: true })
}
