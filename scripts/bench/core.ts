/**
 * `npm run bench:core [-- --mib N] [--json] [--prof]`: files without FUSE, over the SQLite store, warm.
 *
 * Each line gives the core's figure, a lower bound for the same bytes in the same run (a copy in memory, the store's
 * reads of the same records, a file written and synced), and the ratio. Only ratios within one run are meaningful. `ZBlk1, 4 KiB` has its blocks split into chunks of 4 KiB each, as in wendelin.core and
 * after small writes; in `ZBlk1` a long write is one chunk. `--prof` runs under the profiler,
 * prints the most expensive functions, and leaves a profile for Chromium's developer tools.
 */
import { execFileSync } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import {
  closeSync,
  copyFileSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { BigFile } from '../../core/big-file/big-file.ts'
import { Connection } from '../../core/objects/connection.ts'
import { Ref } from '../../core/objects/pickle/value.ts'
import { BLKSIZE, ZBigFile } from '../../core/zblk/zbigfile.ts'
import { ZBlk1 } from '../../core/zblk/zblk.ts'
import { ROOT_OID, type Oid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { WritableStore } from '../../store/store.ts'
import { type CpuProfile, hottestFunctions } from './cpu-profile.ts'
import { type ZBlkFormat } from '../../core/objects/zblk-format.ts'

const { values } = parseArgs({
  options: {
    mib: { type: 'string', default: '128' },
    json: { type: 'boolean', default: false },
    prof: { type: 'boolean', default: false },
  },
})
const bytes = Number(values.mib) << 20
const COMMIT_BYTES = 32 << 20
const WRITE_BYTES = 1 << 20
const CACHE_BYTES = 64 << 20
const ROUNDS = 5
const ALLOCATION_BLOCKS = 16

/** The output of `--json`. */
const rows: {
  readonly name: string
  readonly core: number
  readonly floor: number
  readonly unit: string
}[] = []

interface Format {
  readonly name: string
  readonly options: { readonly zblkFormat: ZBlkFormat; readonly chunkBytesMax?: number }
}

const FORMATS: readonly Format[] = [
  { name: 'ZBlk1, 4 KiB', options: { zblkFormat: 'zblk1', chunkBytesMax: 4096 } },
  { name: 'ZBlk1', options: { zblkFormat: 'zblk1' } },
  { name: 'ZBlk0', options: { zblkFormat: 'zblk0' } },
]

const source = randomFillSync(new Uint8Array(bytes))
const directory = mkdtempSync(join(tmpdir(), 'zblkfs-bench-core-'))
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    rmSync(directory, { recursive: true, force: true })
    process.exit(1)
  })

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

async function seconds(run: () => unknown): Promise<number> {
  const start = process.hrtime.bigint()
  await run()
  return Number(process.hrtime.bigint() - start) / 1e9
}

/** The median time of several rounds, after a warm-up round. */
async function median(run: () => unknown): Promise<number> {
  await run()
  const times: number[] = []
  for (let i = 0; i < ROUNDS; i++) times.push(await seconds(run))
  return times.toSorted((a, b) => a - b)[ROUNDS >> 1] ?? 0
}

function print(what: string, core: number, floor: number, unit: string): void {
  rows.push({ name: what, core, floor, unit })
  if (values.json) return
  const format = (value: number): string => value.toFixed(value < 10 ? 2 : 0).padStart(9)
  console.log(
    `${what.padEnd(62)}${format(core)}${format(floor)} ${unit.padEnd(8)}${(core / floor).toFixed(2)}`,
  )
}

async function store(to: WritableStore, { options }: Format): Promise<Oid> {
  const connection = await Connection.open(to, { cacheSizeBytes: CACHE_BYTES, ...options })
  const file = await BigFile.create(connection)
  for (let off = 0; off < bytes; off += WRITE_BYTES) {
    await file.write(BigInt(off), source.subarray(off, off + WRITE_BYTES))
    if (connection.dirtyBytes < COMMIT_BYTES) continue
    await connection.prepare()
    await connection.commit()
  }
  await connection.prepare()
  await connection.commit()
  return file.file.oid
}

function writePlainFile(): void {
  const fd = openSync(join(directory, 'plain'), 'w')
  for (let off = 0; off < bytes; off += COMMIT_BYTES) {
    writeSync(fd, source.subarray(off, off + COMMIT_BYTES))
    fdatasyncSync(fd)
  }
  closeSync(fd)
}

async function open(from: WritableStore, file: Oid): Promise<[BigFile, Connection]> {
  const connection = await Connection.open(from, { cacheSizeBytes: CACHE_BYTES })
  const object = connection.get(file, ZBigFile.CLASS_NAME)
  if (!(object instanceof ZBigFile)) throw new Error('the object is not a file')
  return [await BigFile.open(connection, object), connection]
}

async function load(file: BigFile, step: number): Promise<void> {
  for (let off = 0; off < bytes; off += step) await file.read(BigInt(off), step)
}

async function isEqual(file: BigFile): Promise<boolean> {
  const hash = createHash('sha256')
  for (let off = 0; off < bytes; off += WRITE_BYTES)
    for (const piece of await file.read(BigInt(off), WRITE_BYTES)) hash.update(piece)
  return hash.digest('hex') === createHash('sha256').update(source).digest('hex')
}

/** The oids of the objects with each block's bytes. */
async function dataOids(file: BigFile): Promise<Oid[][]> {
  const blocks: Oid[][] = []
  for await (const [, ref] of file.file.blktab.range()) {
    const block = ref instanceof Ref ? file.file.jar.resolve(ref) : undefined
    if (block === undefined) throw new Error('a block is missing')
    if (!(block instanceof ZBlk1)) {
      blocks.push([block.oid])
      continue
    }
    await block.activate()
    const oids: Oid[] = []
    for await (const [, chunk] of block.chunktab.range()) if (chunk instanceof Ref) oids.push(chunk.oid)
    blocks.push(oids)
  }
  return blocks
}

/** Bytes allocated on and off the heap by reading a whole block: medians, one block at a time. */
async function allocations(
  file: BigFile,
  blocks: number,
): Promise<{ readonly heap: number; readonly buffers: number }> {
  const heap: number[] = []
  const buffers: number[] = []
  for (let blk = 0; blk < blocks; blk++) {
    // Prevents a garbage collection while the block is read.
    collectGarbage()
    const before = process.memoryUsage()
    await file.read(BigInt(blk) * BigInt(BLKSIZE), BLKSIZE)
    const after = process.memoryUsage()
    heap.push(after.heapUsed - before.heapUsed)
    buffers.push(after.arrayBuffers - before.arrayBuffers)
  }
  const middle = (values: number[]): number => values.toSorted((a, b) => a - b)[blocks >> 1] ?? 0
  return { heap: middle(heap), buffers: middle(buffers) }
}

async function bench(to: WritableStore, format: Format): Promise<void> {
  const rate = (seconds: number): number => bytes / 1e6 / seconds
  const { name } = format
  let oid = ROOT_OID
  const storing = await seconds(async () => (oid = await store(to, format)))
  print(
    `${name} store, beside a plain file, both synced`,
    rate(storing),
    rate(await median(writePlainFile)),
    'MB/s',
  )

  const [file, connection] = await open(to, oid)
  if (!(await isEqual(file))) throw new Error(`${name}: what was read is not what was written`)
  const copying = await median(() => {
    for (let off = 0; off < bytes; off += BLKSIZE) Uint8Array.from(source.subarray(off, off + BLKSIZE))
  })
  const oids = await dataOids(file)
  const raw = await median(async () => {
    for (const block of oids) await to.load(block, connection.at)
  })
  const fresh = await median(async () => load((await open(to, oid))[0], BLKSIZE))
  print(`${name} load, blocks met for the first time, beside memory copy`, rate(fresh), rate(copying), 'MB/s')
  print(`${name} load, blocks met for the first time, beside store.load`, rate(fresh), rate(raw), 'MB/s')
  const again = await median(() => load(file, WRITE_BYTES))
  print(`${name} load by 1 MiB, indexes known, beside store.load`, rate(again), rate(raw), 'MB/s')

  const reads = 20_000
  const offsets = Array.from({ length: reads }, (_, i) => BigInt(((i * 7919) % (bytes / 4096)) * 4096))
  const flat = oids.flat()
  const at = (i: number): Oid => flat[i % flat.length] ?? ROOT_OID
  const random = await median(async () => {
    for (const off of offsets) await file.read(off, 4096)
  })
  const parts = await median(async () => {
    for (let i = 0; i < reads; i++) await to.loadPart(at(i), connection.at, 50, 4096)
  })
  print(`${name} random 4 KiB reads, beside store.loadPart`, reads / random, reads / parts, '1/s')
  const objects = Object.values(connection.statistics().classes)
  const live = objects.reduce((sum, { ghosts, upToDate, changed }) => sum + ghosts + upToDate + changed, 0)
  const { heap, buffers } = await allocations(file, Math.min(ALLOCATION_BLOCKS, oids.length))
  const kib = (allocated: number): string => `${(allocated / 1024).toFixed(1)} KiB`
  if (!values.json)
    console.log(
      `${name}: a block is ${flat.length / oids.length} records of data; in memory stay ` +
        `${(live / oids.length).toFixed(1)} objects per block; reading one allocates ${kib(heap)} of heap ` +
        `and ${kib(buffers)} of buffers`,
    )
}

/** Runs itself under the profiler and prints the most expensive functions. */
function profile(): void {
  const parameters = ['--cpu-prof', `--cpu-prof-dir=${directory}`, import.meta.filename, '--mib', values.mib]
  execFileSync(process.execPath, parameters, { stdio: 'inherit' })
  const name = readdirSync(directory).find(name => name.endsWith('.cpuprofile'))
  if (name === undefined) throw new Error('no profile was written')
  const kept = join(tmpdir(), 'zblkfs-core.cpuprofile')
  copyFileSync(join(directory, name), kept)
  const text = readFileSync(kept, 'utf8')
  console.log(`\n${hottestFunctions(JSON.parse(text) as CpuProfile).join('\n')}\n\nthe profile: ${kept}`)
}

async function main(): Promise<void> {
  const to = await openDatabase(join(directory, 'db'), { create: true })
  try {
    if (!values.json) console.log(`${bytes >> 20} MiB; core, floor, unit, core / floor`)
    for (const format of FORMATS) await bench(to, format)
    if (values.json) console.log(JSON.stringify(rows))
  } finally {
    await to.close()
  }
}

try {
  if (values.prof) profile()
  else await main()
} finally {
  rmSync(directory, { recursive: true, force: true })
}
