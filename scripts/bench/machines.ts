/**
 * Figures of a database on a PostgreSQL server with an S3 bucket, both on this machine, from the tests' own servers:
 * `npm run bench:machines -- [--mib N] [--rounds N]`.
 *
 * - From an fsync on one mount to the read of it on another one.
 * - Synced writes of 4 KiB by one writer, and by 2 and 4 mounts at the same time, in files of their own: they write in turns.
 * - What the lease costs a mount that is alone, in processor time: small files created, written and read by the operations of a filesystem in
 *   this process, opened for writing alone and beside others.
 * - Sequential write and read through the bucket, with a cold and a warm disk cache, beside the same server used directly: objects of
 *   8 MiB, four at once; and beside rclone and s3backer, if they are installed. Rounds alternate, so that other load on the machine meets all.
 */
import { randomFillSync } from 'node:crypto'
import { constants, createReadStream } from 'node:fs'
import { mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { FileSystem } from '../../core/file-system/file-system.ts'
import { name as toName, ROOT_INO, type Notifier } from '../../core/file-system/operations.ts'
import { openDatabase } from '../../store/open-store.ts'
import { KilledMount } from '../../test/crash/killed-mount.ts'
import { PostgresServer } from '../../test/tools/postgres-server.ts'
import { setup } from '../../test/tools/shared-server.ts'
import { makeBucket, type TestBucket } from '../../test/tools/swift-server.ts'
import { median, MIB } from './measure.ts'
import { run } from './programs.ts'
import { installedPeers } from './s3-peers.ts'

const OBJECT_BYTES = 8 * MIB
const AT_ONCE = 4
const FOLLOWS = 200
const SYNCS = 300
const LATE_MS = 10_000
const TURNS_MS = 5000
const LEASE_FILES = 2000
const LEASE_ROUNDS = 7

const NO_NOTIFIER: Notifier = {
  invalidateInode: () => undefined,
  invalidateEntry: () => undefined,
  invalidateNames: () => undefined,
  invalidateAttributes: () => Promise.resolve(),
  settled: () => Promise.resolve(),
}

const { values } = parseArgs({ options: { mib: { type: 'string' }, rounds: { type: 'string' } } })
const mib = Number(values.mib ?? 256)
const rounds = Number(values.rounds ?? 3)

const endServers = setup()
const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-bench-machines-'))
const server = await PostgresServer.make()
try {
  const bucket = await makeBucket()
  const { url } = await server.makeDatabase()
  const mounts = ['one', 'two'].map(name => new KilledMount(join(scratch, name), url))
  try {
    await measure(mounts as [KilledMount, KilledMount], bucket)
  } finally {
    for (const mount of mounts) {
      await mount.end()
      await mount.unmountDead()
    }
    bucket.remove()
  }
} finally {
  await server.remove()
  await endServers()
  await rm(scratch, { recursive: true, force: true })
}
process.exit()

async function measure(
  [writer, reader]: readonly [KilledMount, KilledMount],
  bucket: TestBucket,
): Promise<void> {
  for (const name of ['one', 'two']) await mkdir(join(scratch, name))
  const cache = [`cache_dir=${join(scratch, 'cache')}`, `cache_disk=${mib * 2}M`]
  await writer.start([`bulk=${bucket.url}`, 'cache_disk=0'])
  await reader.start(['ro', ...cache])
  printTimes('fsync on one mount to read on another', await followTimes(writer, reader))
  printTimes('fsync of 4 KiB', await syncTimes(writer))
  await turnTimes()
  await leaseCosts()
  const peers = await installedPeers(bucket, scratch, mib * MIB)
  const figures = new Map<string, number[]>()
  for (let round = 0; round < rounds; round++) {
    const add = async (name: string, work: () => Promise<void>): Promise<void> => {
      const start = performance.now()
      await work()
      figures.set(name, [...(figures.get(name) ?? []), (mib * 1000) / (performance.now() - start)])
    }
    const bytes = randomFillSync(Buffer.allocUnsafe(OBJECT_BYTES))
    await add('direct write', async () => await direct(index => bucket.client.put(`direct${index}`, [bytes])))
    await add('write and fsync', async () => await writeFile(join(writer.dir, `big${round}`)))
    await add(
      'direct read',
      async () => await direct(index => bucket.client.get(`direct${index}`, 0, OBJECT_BYTES)),
    )
    await remount(reader, cache)
    await add('read, cold', async () => await readAll(join(reader.dir, `big${round}`)))
    await remount(reader, cache)
    await add('read, warm', async () => await readAll(join(reader.dir, `big${round}`)))
    for (const { name, file, mount, unmount } of peers)
      try {
        await mount()
        await add(`${name} write`, async () => {
          await writeFile(file, name === 's3backer' ? 'r+' : 'w')
          await unmount()
        })
        await mount()
        await add(`${name} read, cold`, async () => await readAll(file))
      } finally {
        await unmount()
      }
  }
  const middle = (name: string): number => median(figures.get(name) ?? [])
  for (const [name, found] of figures) {
    const base = name.includes('write') ? 'direct write' : 'direct read'
    const ratio = name === base ? '' : `${(middle(name) / middle(base)).toFixed(2)} of ${base}`
    const range = `(${Math.min(...found).toFixed(0)} - ${Math.max(...found).toFixed(0)})`
    console.log(
      `${name.padEnd(20)} ${middle(name).toFixed(0).padStart(5)} MiB/s ${range.padEnd(14)} ${ratio}`,
    )
  }
}

/** Drops the kernel's caches of a mount. */
async function remount(mount: KilledMount, options: readonly string[]): Promise<void> {
  await run('umount', mount.dir)
  await mount.end()
  await mount.start(['ro', ...options])
}

async function followTimes(writer: KilledMount, reader: KilledMount): Promise<readonly number[]> {
  const times: number[] = []
  for (let number = 1; number <= FOLLOWS; number++) {
    const text = String(number).padStart(8)
    const file = await open(join(writer.dir, 'followed'), number === 1 ? 'w' : 'r+')
    await file.write(text, 0)
    await file.sync()
    const start = performance.now()
    await file.close()
    while ((await readFile(join(reader.dir, 'followed'), 'latin1').catch(() => '')) !== text)
      if (performance.now() - start > LATE_MS) throw new Error('the second mount does not follow')
    times.push(performance.now() - start)
  }
  return times
}

async function syncTimes(writer: KilledMount): Promise<readonly number[]> {
  const times: number[] = []
  const file = await open(join(writer.dir, 'synced'), 'w')
  const bytes = Buffer.alloc(4096, 1)
  for (let number = 0; number < SYNCS; number++) {
    const start = performance.now()
    await file.write(bytes, 0, bytes.length, number * bytes.length)
    await file.sync()
    times.push(performance.now() - start)
  }
  await file.close()
  return times
}

/** Synced writes per second of several mounts together, each to a file of its own. */
async function turnTimes(): Promise<void> {
  for (const count of [1, 2, 4]) {
    const { url } = await server.makeDatabase()
    const mounts: KilledMount[] = []
    try {
      for (let number = 0; number < count; number++) {
        const place = join(scratch, `turns${count}-${number}`)
        await mkdir(place)
        const mount = new KilledMount(place, url)
        mounts.push(mount)
        await mount.start([])
      }
      let syncs = 0
      const start = performance.now()
      await Promise.all(
        mounts.map(async ({ dir }, number) => {
          const file = await open(join(dir, `file${number}`), 'w')
          for (; performance.now() - start < TURNS_MS; syncs++) {
            await file.write(Buffer.alloc(4096, syncs))
            await file.sync()
          }
          await file.close()
        }),
      )
      const perSecond = (syncs * 1000) / (performance.now() - start)
      console.log(
        `synced writes of ${count} ${count === 1 ? 'mount' : 'mounts'}`.padEnd(45) +
          `${perSecond.toFixed(0)} /s`,
      )
    } finally {
      for (const mount of mounts) {
        await mount.end()
        await mount.unmountDead()
      }
    }
  }
}

/** Processor time of a filesystem that writes alone, and beside others of which there are none. */
async function leaseCosts(): Promise<void> {
  const costs: { alone: number[]; shared: number[] } = { alone: [], shared: [] }
  for (let round = 0; round < LEASE_ROUNDS; round++)
    for (const kind of ['alone', 'shared'] as const) {
      const { url } = await server.makeDatabase()
      const store = await openDatabase(url, { create: true, isShared: kind === 'shared' })
      const fileSystem = await FileSystem.open(store)
      const { leasing, watching } = store.capabilities
      const log = pino({ level: 'silent' })
      const served =
        leasing === undefined || watching === undefined
          ? fileSystem
          : fileSystem.sharing(leasing, watching, { log, isFresh: true, locking: undefined })
      served.attach(NO_NOTIFIER)
      const before = process.cpuUsage()
      await useFiles(served)
      await served.sync()
      const { user, system } = process.cpuUsage(before)
      costs[kind].push((user + system) / 1000)
      await served.close()
    }
  const [alone, shared] = [median(costs.alone), median(costs.shared)]
  console.log(
    `processor time of ${LEASE_FILES} files`.padEnd(45) +
      `${alone.toFixed(0)} ms alone, ${shared.toFixed(0)} ms with the lease: ${((shared / alone - 1) * 100).toFixed(1)} %`,
  )
}

async function useFiles(fileSystem: FileSystem): Promise<void> {
  const caller = { pid: 0, uid: 0, gid: 0 }
  const data = randomFillSync(Buffer.allocUnsafe(4096))
  for (let number = 0; number < LEASE_FILES; number++) {
    const { entry, file } = await fileSystem.create(
      ROOT_INO,
      toName(`file${number}`),
      0o100644,
      constants.O_RDWR,
      caller,
    )
    const { ino } = entry.attributes
    for (let off = 0n; off < 32768n; off += 4096n) await fileSystem.write(ino, file.fh, off, data)
    await fileSystem.getattr(ino)
    await fileSystem.release(ino, file.fh)
    const opened = await fileSystem.open(ino, constants.O_RDONLY, caller)
    await fileSystem.read(ino, opened.fh, 0n, 32768)
    await fileSystem.release(ino, opened.fh)
    fileSystem.forget(ino, 1)
  }
}

/** Requests for as many objects as make up the whole, {@link AT_ONCE} at once. */
async function direct(request: (index: number) => Promise<unknown>): Promise<void> {
  const waiting = Array.from({ length: Math.ceil((mib * MIB) / OBJECT_BYTES) }, (_, index) => index)
  const work = async (): Promise<void> => {
    for (let index = waiting.pop(); index !== undefined; index = waiting.pop()) await request(index)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}

async function writeFile(path: string, flags = 'w'): Promise<void> {
  const file = await open(path, flags)
  const bytes = randomFillSync(Buffer.allocUnsafe(MIB))
  for (let number = 0; number < mib; number++) {
    bytes.writeUInt32LE(number)
    await file.write(bytes)
  }
  await file.sync()
  await file.close()
}

async function readAll(path: string): Promise<void> {
  let length = 0
  for await (const part of createReadStream(path, { highWaterMark: MIB }) as AsyncIterable<Buffer>)
    length += part.length
  if (length !== mib * MIB) throw new Error(`${path} has ${length} bytes`)
}

function printTimes(name: string, times: readonly number[]): void {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (part: number): string => `${(sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(1)} ms`
  console.log(`${name.padEnd(38)} p50 ${at(0.5).padStart(9)}   p99 ${at(0.99).padStart(9)}`)
}
