/** Where the bytes of records go: into the index's rows or into the log. */
import { rm } from 'node:fs/promises'
import Database from 'better-sqlite3'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Packing } from '../../../store/capabilities.ts'
import { ROOT_OID, TID_NONE, knownOid, type Oid, type Tid } from '../../../store/ids.ts'
import { keptMoments } from '../../../store/kept-moments.ts'
import type { ObjectChange } from '../../../store/changes.ts'
import type { WritableStore } from '../../../store/store.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { newOids } from '../../tools/new-oids.ts'
import { expectBytes } from '../history.ts'
import { changeOf, commitChain, MARKER, recordOf } from '../contract/graph.ts'
import { randomBytes } from '../contract/random-history.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const HEAD = Uint8Array.of(1, 2, 3)
const TAIL = Uint8Array.of(4)

interface Row {
  readonly oid: number
  readonly pos: number | null
  readonly len: number
  readonly row: number
}

let directory: string
let store: WritableStore
beforeEach(async () => {
  directory = await temporaryDirectory()
  store = await openSqliteStore(`${directory}/test.zblk`, { create: true })
})
afterEach(async () => {
  await store.close()
  await rm(directory, { recursive: true, force: true })
})

const rows = (): readonly Row[] => {
  const db = new Database(`${directory}/test.zblk`, { readonly: true })
  try {
    return db
      .prepare<[], Row>(
        'SELECT oid, pos, len, length(head) + ifnull(length(tail), 0) AS row FROM revision ORDER BY id',
      )
      .all()
  } finally {
    db.close()
  }
}

async function commitBodies(bodies: readonly Uint8Array[]): Promise<readonly Oid[]> {
  const oids = await newOids(store, bodies.length)
  const changes = bodies.map((body, index): ObjectChange => ({
    oid: knownOid(oids[index] ?? 0),
    base: TID_NONE,
    record: { head: HEAD, body: [body], tail: TAIL },
  }))
  await store.commit({ changes })
  return oids
}

const bodiesOf = (lengths: readonly number[]): readonly Uint8Array[] =>
  lengths.map((length, index) => randomBytes(length, index + 1))

async function expectBodies(oids: readonly Oid[], bodies: readonly Uint8Array[]): Promise<void> {
  for (const [index, revision] of (await store.load(oids, await store.lastTid())).entries())
    expect(
      Buffer.compare(revision?.record ?? HEAD, Buffer.concat([HEAD, bodies[index] as Uint8Array, TAIL])),
    ).toBe(0)
}

test('chunks that end with zeros are written to the log like full ones', async () => {
  const bodies = bodiesOf(Array.from({ length: 64 }, (_, index) => 4096 - (index % 2) * 6))
  const oids = await commitBodies(bodies)
  for (const { pos, len, row } of rows()) {
    expect(pos === null ? pos : pos % 4096).toBe(0)
    expect(len).toBeGreaterThan(4089)
    expect(row).toBe(4)
  }
  await expectBodies(oids, bodies)
})

test('short bodies share units without crossing them, the shortest ones stay in rows', async () => {
  const lengths = [5000, 600, 511, 1000, 4095, 512, 2400, 9000, 2000, 700, 8192 + 511, 20_000]
  const bodies = bodiesOf(lengths)
  const oids = await commitBodies(bodies)
  const used = new Set<number>()
  for (const [index, { pos, len }] of rows().entries()) {
    const length = lengths[index] as number
    if (length < 512) expect(pos).toBe(null)
    else {
      expect(len).toBe(length % 4096 < 512 ? length - (length % 4096) : length)
      if (length < 4096) expect(((pos as number) % 4096) + len).toBeLessThanOrEqual(4096)
      else expect((pos as number) % 4096).toBe(0)
      for (let unit = Math.floor((pos as number) / 4096); unit * 4096 < (pos as number) + len; unit++)
        used.add(unit)
    }
  }
  expect(used.size).toBe(2 + 3 + 2 + 5 + 4)
  await expectBodies(oids, bodies)
})

test('a pack keeps a unit while any body in it is kept', async () => {
  const { oids, tid } = await commitChain(store, 40, 1000)
  const packing = store.capabilities.packing as Packing
  const packFrom = async (
    index: number,
    base: Tid,
  ): Promise<{ readonly tid: Tid; readonly bytes: number }> => {
    const tid = await store.commit({ changes: [changeOf(ROOT_OID, base, oids.slice(index, index + 1))] })
    const kept = keptMoments(tid, [])
    await packing.keep(kept)
    const options = { rest: 0, spareBytes: 0, onProgress: () => {}, signal: undefined }
    const { bulkBytesFreed } = await packing.pack({ kept, marker: MARKER, ...options })
    return { tid, bytes: bulkBytesFreed }
  }
  const body = recordOf(oids.slice(4, 5), 1000)
  const three = await packFrom(3, tid)
  expectBytes((await store.load(oids.slice(3, 4), three.tid))[0]?.record, body, 'the fourth of a unit')
  const four = await packFrom(4, three.tid)
  expect([three.bytes, four.bytes]).toEqual([0, 4096])
})
