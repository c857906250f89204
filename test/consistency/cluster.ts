/**
 * One writing mount and two that follow it, on a PostgreSQL server and a bucket behind proxies that fail. Random writes, syncs,
 * kills and faults by a seed; history.ts checks what was seen. A seed reproduces the operations and the faults, but not their exact
 * moments.
 */
import { closeSync } from 'node:fs'
import { mkdir, mkdtemp, open, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkDatabase } from '../../core/check/check-database.ts'
import { describeDamage } from '../../core/check/damage.ts'
import { KilledMount } from '../crash/killed-mount.ts'
import { Random } from '../stress/random.ts'
import { FaultProxy } from '../tools/fault-proxy.ts'
import { PostgresServer } from '../tools/postgres-server.ts'
import { S3Proxy, type S3Fault } from '../tools/s3-proxy.ts'
import { makeBucket, type TestBucket } from '../tools/swift-server.ts'
import { checkHistory, type FileStates, type HistoryEvent } from './history.ts'

export interface ConsistencyOptions {
  readonly seconds: number
  readonly seed: number
  readonly log: (line: string) => void
}

export interface ConsistencyResult {
  readonly problems: readonly string[]
  readonly writes: number
  readonly syncs: number
  readonly views: number
  readonly moments: number
  readonly faults: Readonly<Record<string, number>>
}

const FILES = 6
const READERS = ['reader 1', 'reader 2']
/** The lengths of files: within a row, in several rows, in a segment. */
const SIZES = [100, 30_000, 300_000, 3_000_000]
const VIEW_INTERVAL_MS = 50
/** After a mount has moved, the kernel may show cached names and pages for some milliseconds (docs/many-machines.md). */
const SETTLE_MS = 150
/** How long the writer rests now and then, so that mounts show a moment for longer. */
const REST_MS = 600
const START_MS = 60_000
const CATCH_UP_MS = 60_000
const HEADER_BYTES = 64

/** A file's bytes: the number of the write, and a pattern that depends on it. */
function contentOf(write: number, length: number): Buffer {
  const bytes = Buffer.alloc(length, `${write.toString(36)} zblkfs `)
  bytes.write(`${write} ${length}`.padEnd(HEADER_BYTES), 0)
  return bytes
}

/** The write that a file shows. @throws Error if it is mixed from several. */
async function writeIn(path: string): Promise<number> {
  let found: Buffer
  try {
    found = await readFile(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0
    throw error
  }
  const [write = 0, length = 0] = found.toString('latin1', 0, HEADER_BYTES).split(' ').map(Number)
  if (!found.equals(contentOf(write, Math.max(length, HEADER_BYTES))))
    throw new MixedError(`${path} has ${found.length} bytes that no write has made`)
  return write
}

/** A file has wrong bytes, which no fault excuses. */
class MixedError extends Error {
  override readonly name = 'MixedError'
}

const statesIn = async (dir: string): Promise<FileStates> => {
  const states: number[] = []
  for (let file = 0; file < FILES; file++) states.push(await writeIn(join(dir, `file${file}`)))
  return states
}

export async function runConsistency(options: ConsistencyOptions): Promise<ConsistencyResult> {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-consistency-'))
  const server = await PostgresServer.make()
  const bucket = await makeBucket()
  const database = await server.makeDatabase()
  const toServer = await FaultProxy.start(server.directory)
  const toBucket = await S3Proxy.start(bucket.endpoint)
  const url = `postgres:///${database.name}?host=${toServer.directory}&user=postgres`
  const cluster = new Cluster({ options, scratch, server, bucket, toServer, toBucket, url })
  try {
    return await cluster.run()
  } finally {
    await cluster.end()
    await toServer.stop()
    await toBucket.stop()
    bucket.remove()
    await server.remove()
    await rm(scratch, { recursive: true, force: true })
  }
}

interface ClusterParts {
  readonly options: ConsistencyOptions
  readonly scratch: string
  readonly server: PostgresServer
  readonly bucket: TestBucket
  readonly toServer: FaultProxy
  readonly toBucket: S3Proxy
  readonly url: string
}

class Cluster {
  readonly #parts: ClusterParts
  readonly #random: Random
  readonly #events: HistoryEvent[] = []
  readonly #problems: string[] = []
  readonly #faults: Record<string, number> = {}
  readonly #writer: KilledMount
  readonly #readers: readonly KilledMount[]
  #writes = 0
  #isWriterUp = false
  #isOver = false

  constructor(parts: ClusterParts) {
    this.#parts = parts
    this.#random = new Random(parts.options.seed)
    const mountAt = (name: string): KilledMount => new KilledMount(join(parts.scratch, name), parts.url)
    this.#writer = mountAt('writer')
    this.#readers = READERS.map((_, index) => mountAt(`reader${index}`))
  }

  async run(): Promise<ConsistencyResult> {
    const { seconds } = this.#parts.options
    await this.#startWriter()
    await Promise.all(this.#readers.map(reader => this.#start(reader, ['ro'])))
    const deadline = performance.now() + seconds * 1000
    const loops = [
      this.#write(),
      ...this.#readers.map((reader, index) => this.#view(reader, READERS[index] ?? '')),
    ]
    while (performance.now() < deadline) await this.#disturb()
    this.#isOver = true
    await Promise.all(loops)
    await this.#finish()
    return {
      problems: [...this.#problems, ...checkHistory(this.#events)],
      writes: this.#writes,
      syncs: this.#events.filter(({ kind }) => kind === 'synced').length,
      views: this.#events.filter(({ kind }) => kind === 'view').length,
      moments: new Set(this.#events.flatMap(event => (event.kind === 'view' ? [event.tid] : []))).size,
      faults: this.#faults,
    }
  }

  async end(): Promise<void> {
    for (const mount of [this.#writer, ...this.#readers]) {
      await mount.end()
      await mount.unmountDead()
    }
  }

  /** Mounts, repeatedly while the servers fail. */
  async #start(mount: KilledMount, options: readonly string[]): Promise<void> {
    const { bucket, toBucket, scratch } = this.#parts
    const place = `bulk=${bucket.url.replace(bucket.endpoint, toBucket.endpoint)}`
    const cache = [`cache_dir=${join(scratch, 'cache')}`, 'cache_disk=32M']
    for (const start = performance.now(); ;) {
      try {
        await mount.start([...options, place, ...cache])
        return
      } catch (error) {
        if (performance.now() - start > START_MS) throw error
        await mount.end()
        await mount.unmountDead()
        await sleep(200)
      }
    }
  }

  async #startWriter(): Promise<void> {
    await mkdir(join(this.#parts.scratch, 'writer'), { recursive: true })
    for (let index = 0; index < READERS.length; index++)
      await mkdir(join(this.#parts.scratch, `reader${index}`), { recursive: true })
    await this.#start(this.#writer, ['commit_interval=200ms', 'dirty_size=8M'])
    this.#isWriterUp = true
  }

  async #write(): Promise<void> {
    const random = new Random(this.#random.below(2 ** 31))
    while (!this.#isOver) {
      if (!this.#isWriterUp) {
        await sleep(50)
        continue
      }
      await this.#writeOnce(random).catch((error: unknown) => this.#tolerate(error, this.#isWriterUp))
      await sleep(random.below(6) === 0 ? REST_MS : random.below(40))
    }
  }

  async #writeOnce(random: Random): Promise<void> {
    const { dir } = this.#writer
    const file = random.below(FILES)
    const content = contentOf(this.#writes + 1, SIZES[random.below(SIZES.length)] ?? 100)
    const handle = await open(join(dir, 'new'), 'w')
    try {
      await handle.writeFile(content)
      this.#writes++
      const write = this.#writes
      this.#events.push({ kind: 'write', file })
      await rename(join(dir, 'new'), join(dir, `file${file}`))
      if (random.below(4) > 0) return
      await handle.sync()
      this.#events.push({ kind: 'synced', write })
    } finally {
      await handle.close().catch(() => closeQuietly(handle.fd))
    }
  }

  async #view(reader: KilledMount, mount: string): Promise<void> {
    while (!this.#isOver) {
      await this.#viewOnce(reader, mount).catch((error: unknown) => this.#tolerate(error, true))
      await sleep(VIEW_INTERVAL_MS)
    }
  }

  /** Records a view if the mount has shown the same moment all the time. */
  async #viewOnce(reader: KilledMount, mount: string): Promise<void> {
    const at = async (): Promise<string> => (await readFile(join(reader.dir, '.zblkfs/at'), 'latin1')).trim()
    const before = await at()
    await sleep(SETTLE_MS)
    if ((await at()) !== before) return
    const files = await statesIn(reader.dir).catch(async (error: unknown) => {
      // Files of two moments may have been read as one.
      if (error instanceof MixedError && (await at()) !== before) return undefined
      throw error
    })
    if (files !== undefined && (await at()) === before)
      this.#events.push({ kind: 'view', mount, tid: before, files })
  }

  /** Failures of operations are what faults lead to; wrong bytes are not. */
  #tolerate(error: unknown, isReported: boolean): void {
    if (error instanceof MixedError) this.#problems.push(error.message)
    else if (isReported && !(error instanceof Error && 'code' in error)) throw error
  }

  /** One fault, for a while. */
  async #disturb(): Promise<void> {
    const { toServer, toBucket, server, options } = this.#parts
    const random = this.#random
    const forMs = 300 + random.below(2000)
    const s3 = async (fault: S3Fault): Promise<void> => {
      toBucket.fault = () => (Math.random() < 0.7 ? fault : undefined)
      await sleep(forMs)
      toBucket.fault = () => undefined
    }
    const faults: Readonly<Record<string, () => Promise<void>>> = {
      'no fault': async () => await sleep(forMs),
      'bucket: 503': async () => await s3('busy'),
      'bucket: bodies cut': async () => await s3('cut'),
      'bucket: bits flipped': async () => await s3('flip'),
      'bucket: answers lost': async () => await s3('lost'),
      'bucket: partition': async () => await s3('reset'),
      'server: connections cut': async () => {
        toServer.cutAll()
        await sleep(forMs)
      },
      'server: answers to COMMIT lost': async () => {
        toServer.cutAt(random.below(2) === 0 ? 'zblkfs_add_all' : 'zblkfs_add_transaction', 'answer')
        await sleep(forMs)
      },
      'server: commits cut': async () => {
        toServer.cutAt(random.below(2) === 0 ? 'zblkfs_add_all' : 'zblkfs_add_transaction', 'request')
        await sleep(forMs)
      },
      'server: partition': async () => {
        toServer.isRefusing = true
        toServer.cutAll()
        await sleep(forMs)
        toServer.isRefusing = false
      },
      'server: crash and restart': async () => {
        await server.stop('immediate')
        await server.start()
      },
      'writer killed': async () => await this.#killWriter(),
      'reader killed': async () => await this.#killReader(random.below(READERS.length)),
    }
    const names = Object.keys(faults)
    const name = names[random.below(names.length)] ?? 'no fault'
    options.log(`${name}, after ${this.#writes} writes`)
    this.#faults[name] = (this.#faults[name] ?? 0) + 1
    await faults[name]?.()
  }

  async #killWriter(): Promise<void> {
    this.#isWriterUp = false
    await this.#writer.end()
    await this.#writer.unmountDead()
    await this.#startWriter()
    this.#isWriterUp = false
    // Faults of the servers do not last.
    this.#events.push({ kind: 'crash', files: await statesIn(this.#writer.dir) })
    this.#isWriterUp = true
  }

  async #killReader(index: number): Promise<void> {
    const reader = this.#readers[index]
    if (reader === undefined) return
    await reader.end()
    await reader.unmountDead()
    await this.#start(reader, ['ro'])
  }

  /** Stores everything, waits until every mount shows it, and checks the database. */
  async #finish(): Promise<void> {
    const { dir } = this.#writer
    for (const start = performance.now(); ;) {
      try {
        const handle = await open(join(dir, 'last'), 'w')
        await handle.sync()
        await handle.close()
        break
      } catch (error) {
        if (performance.now() - start > CATCH_UP_MS) throw error
        await sleep(200)
      }
    }
    const wanted = (await statesIn(dir)).join()
    for (const [index, reader] of this.#readers.entries()) {
      let files: FileStates = []
      for (
        const start = performance.now();
        performance.now() - start < CATCH_UP_MS && files.join() !== wanted;
      ) {
        await sleep(100)
        files = await statesIn(reader.dir).catch(() => [])
      }
      this.#events.push({ kind: 'end', mount: READERS[index] ?? '', files })
    }
    const report = (damage: Parameters<typeof describeDamage>[0]): void =>
      void this.#problems.push(`fsck: ${describeDamage(damage)}`)
    await checkDatabase(this.#parts.url, { data: true, repair: false, report, progress: () => undefined })
  }
}

function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // Its mount is gone.
  }
}
