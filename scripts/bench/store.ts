/**
 * `npm run bench:store [-- --mib N]`: compares the store of a database file with a plain file in the same run, both in one directory.
 *
 * Each line gives the store's figure, the cost of reading or writing the same bytes in the same pieces with a plain
 * file (write + fdatasync, pread), and the ratio. Only ratios within one run are meaningful.
 */
import { randomFillSync } from 'node:crypto'
import { closeSync, fdatasyncSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { TID_MAX, TID_NONE, type Oid, type Tid, knownOid } from '../../store/ids.ts'
import type { ObjectChange } from '../../store/changes.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { WritableStore } from '../../store/store.ts'

const BLOCK = 2 << 20
const CHUNK = 4096
const COMMIT_BLOCKS = 16
const HEAD = new Uint8Array(45).fill(1)
const TAIL = new Uint8Array(4).fill(2)

const { values } = parseArgs({ options: { mib: { type: 'string', default: '256' } } })
const blocks = Math.ceil((Number(values.mib) << 20) / BLOCK / COMMIT_BLOCKS) * COMMIT_BLOCKS
const bytes = blocks * BLOCK
const directory = mkdtempSync(join(tmpdir(), 'zblkfs-bench-store-'))
const path = join(directory, 'bench.db')
const source = new Uint8Array(new SharedArrayBuffer(COMMIT_BLOCKS * BLOCK))
randomFillSync(source)

async function seconds(run: () => void | Promise<void>): Promise<number> {
  const start = process.hrtime.bigint()
  await run()
  return Number(process.hrtime.bigint() - start) / 1e9
}

function print(what: string, store: number, file: number, unit: string): void {
  const format = (value: number): string => value.toFixed(value < 10 ? 2 : 0).padStart(8)
  console.log(
    `${what.padEnd(58)}${format(store)}${format(file)} ${unit.padEnd(6)}${(store / file).toFixed(2).padStart(6)}`,
  )
}

function random(end: number): () => number {
  let state = 1
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * end)
  }
}

/** Writes bodies of 2 MiB, or each split into 512 of 4 KiB; returns the first oid. */
async function writeBulk(store: WritableStore, chunked: boolean): Promise<Oid> {
  const perBlock = chunked ? BLOCK / CHUNK : 1
  const first = (await store.allocateOids(blocks * perBlock)).first
  let oid: number = first
  for (let block = 0; block < blocks; block += COMMIT_BLOCKS) {
    const changes: ObjectChange[] = []
    const size = BLOCK / perBlock
    for (let off = 0; off < source.length; off += size) {
      const body = [source.subarray(off, off + size)]
      changes.push({ oid: knownOid(oid++), base: TID_NONE, record: { head: HEAD, body, tail: TAIL } })
    }
    await store.commit({ changes })
  }
  return first
}

function writeFile(file: number, piece: number, count: number, sync: boolean): void {
  for (let index = 0; index < count; index++) {
    writeSync(file, source, (index * piece) % source.length, piece, index * piece)
    if (sync) fdatasyncSync(file)
  }
  if (!sync) fdatasyncSync(file)
}

async function benchBulk(store: WritableStore, file: number): Promise<{ whole: Oid; chunked: Oid }> {
  const firsts: Oid[] = []
  for (const [chunked, what] of [
    [false, 'write 2 MiB bodies, 32 MiB a commit'],
    [true, 'write 4 KiB bodies, 32 MiB a commit'],
  ] as const) {
    const own = await seconds(async () => void firsts.push(await writeBulk(store, chunked)))
    const plain = await seconds(() => {
      for (let off = 0; off < bytes; off += source.length) {
        writeSync(file, source, 0, source.length, off)
        fdatasyncSync(file)
      }
    })
    print(what, bytes / own / 1e6, bytes / plain / 1e6, 'MB/s')
  }
  return { whole: firsts[0] ?? knownOid(0), chunked: firsts[1] ?? knownOid(0) }
}

/** Measures reads of the store, and reads of as many bytes from a plain file. */
function besideFile(file: number) {
  const piece = Buffer.allocUnsafe(BLOCK)
  const readPlain = async (size: number, count: number, end: number): Promise<number> => {
    const next = random(Math.floor(end / size))
    return await seconds(() => {
      for (let index = 0; index < count; index++) readSync(file, piece, 0, size, next() * size)
    })
  }
  return async (
    what: string,
    count: number,
    size: number,
    unit: string,
    run: (index: number) => Promise<unknown>,
  ): Promise<void> => {
    for (let index = 0; index < Math.min(count, 50); index++) await run(index)
    const own = await seconds(async () => {
      for (let index = 0; index < count; index++) await run(index)
    })
    const plain = await readPlain(size, count, bytes)
    const scale =
      unit === 'us' ? (time: number) => (time / count) * 1e6 : (time: number) => (size * count) / time / 1e6
    print(what, scale(own), scale(plain), unit)
  }
}

async function benchReads(store: WritableStore, file: number, whole: Oid, chunked: Oid): Promise<void> {
  const measure = besideFile(file)
  const perBlock = BLOCK / CHUNK
  await measure(
    'read a 2 MiB record',
    blocks,
    BLOCK,
    'MB/s',
    async index => await store.load([knownOid(whole + index)], TID_MAX),
  )
  await measure('read 512 neighbouring records of 4 KiB', blocks, BLOCK, 'MB/s', async index => {
    const start = chunked + index * perBlock
    await store.load(
      Array.from({ length: perBlock }, (_, at) => knownOid(start + at)),
      TID_MAX,
    )
  })
  await measure('read 512 neighbouring records of 4 KiB in 17 calls', blocks, BLOCK, 'MB/s', async index => {
    for (let from = 0; from < perBlock; from += 31) {
      const start = chunked + index * perBlock + from
      const length = Math.min(31, perBlock - from)
      await store.load(
        Array.from({ length }, (_, at) => knownOid(start + at)),
        TID_MAX,
      )
    }
  })
  const anyBlock = random(blocks)
  const anyChunk = random(perBlock)
  await measure(
    'random 4 KiB of a 2 MiB record',
    20_000,
    CHUNK,
    'us',
    async () =>
      await store.loadPart(knownOid(whole + anyBlock()), TID_MAX, HEAD.length + anyChunk() * CHUNK, CHUNK),
  )
  const anyObject = random(blocks * perBlock)
  await measure(
    'random record of 4 KiB',
    20_000,
    CHUNK,
    'us',
    async () => await store.load([knownOid(chunked + anyObject())], TID_MAX),
  )
}

async function benchSmallCommits(store: WritableStore, file: number): Promise<void> {
  const count = 1000
  const rows = (await store.allocateOids(4)).first
  let base: Tid = TID_NONE
  const commit = async (index: number): Promise<void> => {
    const changes = [0, 1, 2].map(at => ({
      oid: knownOid(rows + at),
      base,
      record: { head: source.subarray(at, at + 1000) },
    }))
    const body = [source.subarray(index * CHUNK, (index + 1) * CHUNK)]
    base = await store.commit({
      changes: [...changes, { oid: knownOid(rows + 3), base, record: { head: HEAD, body, tail: TAIL } }],
    })
  }
  await commit(0)
  const own = await seconds(async () => {
    for (let index = 0; index < count; index++) await commit(index)
  })
  const plain = await seconds(() => writeFile(file, CHUNK, count, true))
  print('commits of 3 rows of 1 KiB and a 4 KiB body', count / own, count / plain, '/s')
}

/** The size of the database, which is not open. */
async function databaseBytes(): Promise<number> {
  const store = await openDatabase(path, { readOnly: true })
  try {
    return (await store.capabilities.measuring?.space())?.totalBytes ?? Number.NaN
  } finally {
    await store.close()
  }
}

async function benchGrowth(): Promise<void> {
  const commits = 100
  const before = await databaseBytes()
  const store = await openDatabase(path)
  await benchGrowthCommits(store, commits)
  await store.close()
  const growth = ((await databaseBytes()) - before) / commits
  print('file growth for such a commit, beside its 7 KiB of records', growth / 1024, 7, 'KiB')
}

async function benchGrowthCommits(store: WritableStore, commits: number): Promise<void> {
  for (let count = 0; count < commits; count++) {
    const first = (await store.allocateOids(4)).first
    const changes = [0, 1, 2].map(at => ({
      oid: knownOid(first + at),
      base: TID_NONE,
      record: { head: source.subarray(at, at + 1000) },
    }))
    const body = [source.subarray(0, CHUNK)]
    await store.commit({
      changes: [...changes, { oid: knownOid(first + 3), base: TID_NONE, record: { head: HEAD, body } }],
    })
  }
}

const file = openSync(join(directory, 'plain'), 'w+')
try {
  console.log(`${bytes >> 20} MiB in ${directory}\n${' '.repeat(58)}   store   plain         ratio`)
  const store = await openDatabase(path, { create: true, purpose: 'a benchmark' })
  const { whole, chunked } = await benchBulk(store, file)
  await store.commit({ changes: [] })
  await benchReads(store, file, whole, chunked)
  await benchSmallCommits(store, file)
  await store.close()
  print('bytes of file for a byte of data', (await databaseBytes()) / (2 * bytes), 1, '')
  await benchGrowth()
} finally {
  closeSync(file)
  rmSync(directory, { recursive: true, force: true })
}
