/** A random history: every moment is what it was, and what differs between two is what their bytes say. */
import { expect, test } from 'vitest'
import { differences, type Difference } from '../../../core/history/difference.ts'
import { log } from '../../../core/history/log.ts'
import { MomentView } from '../../../core/history/moment-view.ts'
import { historyOf } from '../../../mount/daemon/history-calls.ts'
import { formatTid, type Tid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { Random } from '../../stress/random.ts'
import type { Paths } from '../../tools/paths.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'
import { treeOf } from '../../tools/tree-hash.ts'

/** ZBLKFS_LONG makes it as long as it should be once in a while. */
const LONG = process.env['ZBLKFS_LONG'] !== undefined
const TRANSACTIONS = LONG ? 1000 : 60
const FILES = LONG ? 50 : 10
const PAIRS = LONG ? 200 : 30
const CHUNK = 4096
const SIZE = 300_000

interface Moment {
  readonly tid: Tid
  readonly tree: string
  /** Where its transaction truncated files. */
  readonly cuts: readonly number[]
}

/** Resolves to the size that it truncated a file to, if it did. */
async function change(paths: Paths, random: Random, stamp: number): Promise<number | undefined> {
  const file = `file${random.below(FILES)}`
  const kind = random.below(10)
  const exists = (await paths.list('')).includes(file)
  if (kind === 0 && exists) await paths.unlink(file)
  else if (kind === 1 && exists) {
    const size = random.below(SIZE)
    await paths.truncate(file, BigInt(size))
    return size
  } else if (kind === 2 && exists) await paths.rename(file, `file${random.below(FILES)}`)
  else {
    // No two writes have a chunk in common that is alike.
    const data = Buffer.alloc(1 + random.below(kind === 3 ? 100_000 : 9000))
    for (let i = 0; i + 8 <= data.length; i += 8) data.writeDoubleLE(stamp + i / 2 ** 30, i)
    await paths.write(file, data, BigInt(random.below(SIZE)))
  }
  return undefined
}

async function makeHistory(paths: Paths, random: Random): Promise<Moment[]> {
  const moments: Moment[] = []
  for (let i = 0; i < TRANSACTIONS; i++) {
    const cuts: number[] = []
    for (let j = random.below(3); j >= 0; j--) {
      const cut = await change(paths, random, i * 10 + j + 1)
      if (cut !== undefined) cuts.push(cut)
    }
    moments.push({ tid: await paths.fs.sync(), tree: await treeOf(paths, ''), cuts })
  }
  return moments
}

/** The chunks in which two files differ, up to the shorter one's end. */
function differingChunks(a: Buffer, b: Buffer): Set<number> {
  const chunks = new Set<number>()
  const end = Math.min(a.length, b.length)
  for (let off = 0; off < end; off += CHUNK)
    if (!a.subarray(off, Math.min(end, off + CHUNK)).equals(b.subarray(off, Math.min(end, off + CHUNK))))
      chunks.add(off)
  return chunks
}

function chunksOf({ ranges }: Difference, end: number): Set<number> {
  const chunks = new Set<number>()
  for (const { lo, hi } of ranges)
    for (let off = Number(lo); off < Math.min(Number(hi), end); off += CHUNK) chunks.add(off)
  return chunks
}

test(
  'every moment is shown correctly, differences match the bytes, and the last ten are undone one by one',
  { timeout: LONG ? 3_600_000 : 400_000 },
  async () => {
    const seed = Number(process.env['ZBLKFS_HISTORY_SEED'] ?? Random.seed())
    console.log(`seed ${seed}`)
    const random = new Random(seed)
    const path = temporaryDatabase()
    const paths = await openPaths(path, { commitIntervalMs: 1e9 })
    const moments = await makeHistory(paths, random)
    for (const { tid, tree } of moments)
      expect(await treeOf(paths, `@${formatTid(tid)}`), formatTid(tid)).toBe(tree)

    const store = await openSqliteStore(path, { readOnly: true })
    for (let i = 0; i < PAIRS; i++) {
      const [a, b] = [random.below(TRANSACTIONS), random.below(TRANSACTIONS)].sort((a, b) => a - b)
      const [before, after] = [moments[a!]!.tid, moments[b!]!.tid]
      const cuts = moments.slice(a! + 1, b! + 1).flatMap(moment => moment.cuts)
      const views = [await MomentView.open(store, before), await MomentView.open(store, after)]
      const inodes = await Promise.all(views.map(inodesOf))
      const found = new Map<string, Difference>()
      const removals = new Set<string>()
      for await (const difference of differences(store, before, after))
        if (difference.kind === 'removed') removals.add(difference.path)
        else found.set(difference.path, difference)
      for (const [name, oid] of inodes[1]!) {
        const from = [...inodes[0]!].find(([, old]) => old === oid)?.[0]
        const difference = found.get(name)
        if (from === undefined) {
          expect(difference?.kind, name).toBe('added')
          continue
        }
        if (from !== name) expect(difference, name).toMatchObject({ kind: 'renamed', from })
        const old = await paths.read(`@${formatTid(before)}/${from}`)
        const now = await paths.read(`@${formatTid(after)}/${name}`)
        const end = Math.min(old.length, now.length)
        const expected = differingChunks(old, now)
        const reported = difference === undefined ? new Set<number>() : chunksOf(difference, end)
        for (const off of expected) expect(reported.has(off), `${name} at ${off}`).toBe(true)
        for (const off of reported) {
          // A chunk that was cut, now or meanwhile, may be reported as well: its rest can have been zeros, and be so again.
          const wasCut = [end, ...cuts].some(cut => off < cut && cut < off + CHUNK)
          expect(expected.has(off) || wasCut, `${name} at ${off}, which is the same`).toBe(true)
        }
        if (old.length !== now.length)
          expect(difference).toMatchObject({ sizeBefore: BigInt(old.length), sizeAfter: BigInt(now.length) })
      }
      for (const [name, oid] of inodes[0]!)
        if (![...inodes[1]!.values()].includes(oid)) expect(removals.has(name), name).toBe(true)
    }

    let count = 0
    for await (const { info } of log(store)) {
      if (moments.some(({ tid }) => tid === info.tid)) count++
    }
    expect(count).toBe(new Set(moments.map(({ tid }) => tid)).size)
    await store.close()

    for (let i = moments.length - 1; i > moments.length - 11; i--) {
      const { tid } = moments[i]!
      if (tid === moments[i - 1]!.tid) continue
      await historyOf(paths.fs).undo(tid)
      expect(withoutChangeTimes(await treeOf(paths, ''))).toBe(withoutChangeTimes(moments[i - 1]!.tree))
    }
  },
)

async function inodesOf(view: MomentView): Promise<Map<string, number>> {
  const inodes = new Map<string, number>()
  for await (const { path, inode } of view.walk()) inodes.set(path.text, inode.oid)
  return inodes
}

const withoutChangeTimes = (tree: string): string =>
  tree
    .split('\n')
    .map(line => line.split(' ').toSpliced(7, 1).join(' '))
    .join('\n')
