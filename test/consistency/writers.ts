/**
 * Three mounts that write one database at the same time, on a PostgreSQL server behind a proxy each that fails, with kills, pauses and
 * partitions by a seed; linearisable.ts checks what they did and saw. A mount that was fenced rejoins, without what it could not store.
 * With an even seed the database has its bulk in a bucket, behind another proxy that fails.
 *
 * Longer than 400 lines: the steps of one run share its state.
 */
/* oxlint-disable max-lines -- see above */
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkDatabase } from '../../core/check/check-database.ts'
import { describeDamage } from '../../core/check/damage.ts'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { KilledMount } from '../crash/killed-mount.ts'
import { Random } from '../stress/random.ts'
import { hasBucketDatabases } from '../tools/bucket-database.ts'
import { FaultProxy } from '../tools/fault-proxy.ts'
import { PostgresServer } from '../tools/postgres-server.ts'
import { S3Proxy, type S3Fault } from '../tools/s3-proxy.ts'
import { makeBucket, type TestBucket } from '../tools/swift-server.ts'
import { checkLinearisable, type Change, type Event, type Exclusive, type Final } from './linearisable.ts'
import { MixedError, registerBytes, registerIn } from './register.ts'

export interface WritersOptions {
  readonly seconds: number
  readonly seed: number
  readonly log: (line: string) => void
}

export interface WritersResult {
  readonly problems: readonly string[]
  readonly changes: number
  readonly synced: number
  readonly reads: number
  readonly lost: number
  readonly faults: Readonly<Record<string, number>>
  /** Failures of operations, by errno. */
  readonly errors: Readonly<Record<string, number>>
}

const MOUNTS = 3
const WORKERS = 2
const START_MS = 60_000
const END_MS = 60_000
const CALL_MS = 5000
const GUARD_MS = 250
/** Longer than a mount may be silent before others fence it. */
const LONG_MS = 10_000
/** The lengths of the register: in its inode, in rows, in segments of a bucket. */
const LENGTHS = [60, 60, 30_000, 2_500_000]

/** The bucket of the database, and the proxy before it. */
interface Remote {
  readonly bucket: TestBucket
  readonly proxy: S3Proxy
}

interface Writer {
  readonly mount: KilledMount
  readonly proxy: FaultProxy
  readonly number: number
  /** Mount options. */
  readonly options: readonly string[]
  isUp: boolean
  /** Operations in progress. */
  running: number
  /** Changes that may not be stored. */
  unstored: (Change | Exclusive)[]
  /** When it was last seen not to be fenced. */
  soundMs: number
  /** How often its unstored changes were lost, so that what it has shown before does not count. */
  losses: number
}

export async function runWriters(options: WritersOptions): Promise<WritersResult> {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-writers-'))
  const server = await PostgresServer.make()
  const writers: Writer[] = []
  let remote: Remote | undefined
  try {
    if (hasBucketDatabases && options.seed % 2 === 0) {
      const bucket = await makeBucket()
      remote = { bucket, proxy: await S3Proxy.start(bucket.endpoint) }
    }
    const { name, url } = await server.makeDatabase()
    for (let number = 0; number < MOUNTS; number++) {
      const proxy = await FaultProxy.start(server.directory)
      const place = join(scratch, `mount${number}`)
      await mkdir(place)
      const mount = new KilledMount(place, `postgres:///${name}?host=${proxy.directory}&user=postgres`)
      writers.push({
        mount,
        proxy,
        number,
        options: ['commit_interval=500ms', ...placeIn(remote, join(place, 'cache'))],
        isUp: false,
        running: 0,
        unstored: [],
        soundMs: 0,
        losses: 0,
      })
    }
    return await new Writers(options, { server, remote }, writers).run(url)
  } catch (error) {
    // The clean-up below may fail as a consequence, with another error.
    options.log(`ended by ${error instanceof Error ? error.stack : String(error)}`)
    throw error
  } finally {
    for (const { mount, proxy } of writers) {
      mount.signal('SIGCONT')
      await mount.end()
      await mount.unmountDead()
      await proxy.stop()
    }
    await remote?.proxy.stop()
    remote?.bucket.remove()
    await server.remove()
    await rm(scratch, { recursive: true, force: true })
  }
}

/** Mount options: the bucket, through the proxy, and a cache. */
const placeIn = (remote: Remote | undefined, cache: string): readonly string[] =>
  remote === undefined
    ? []
    : [
        `bulk=${remote.bucket.url.replace(remote.bucket.endpoint, remote.proxy.endpoint)}`,
        `cache_dir=${cache}`,
        'cache_disk=16M',
      ]

interface Servers {
  readonly server: PostgresServer
  /** Undefined: the bulk is in rows. */
  readonly remote: Remote | undefined
}

class Writers {
  readonly #options: WritersOptions
  readonly #server: PostgresServer
  readonly #remote: Remote | undefined
  readonly #writers: readonly Writer[]
  readonly #random: Random
  #events: Event[] = []
  readonly #problems: string[] = []
  readonly #faults: Record<string, number> = {}
  readonly #errors: Record<string, number> = {}
  #isOver = false
  #count = 0

  constructor(options: WritersOptions, { server, remote }: Servers, writers: readonly Writer[]) {
    this.#options = options
    this.#server = server
    this.#remote = remote
    this.#writers = writers
    this.#random = new Random(options.seed)
  }

  async run(url: string): Promise<WritersResult> {
    const { seconds } = this.#options
    for (const writer of this.#writers) await this.#start(writer)
    const deadline = performance.now() + seconds * 1000
    const loops = this.#writers.flatMap(writer => [
      this.#guard(writer),
      ...Array.from({ length: WORKERS }, () => this.#work(writer)),
    ])
    try {
      while (performance.now() < deadline) await this.#disturb()
    } finally {
      this.#isOver = true
      await Promise.all(loops)
    }
    const finals = await this.#finals()
    const [final] = finals
    if (final === undefined) throw new Error('no mount')
    if (new Set(finals.map(shown => JSON.stringify(shown))).size > 1)
      this.#problems.push(
        `in the end the mounts differ: ${finals.map(({ log }) => log.length).join(' ')} lines`,
      )
    const report = (damage: Parameters<typeof describeDamage>[0]): void =>
      void this.#problems.push(`fsck: ${describeDamage(damage)}`)
    await checkDatabase(url, { data: true, repair: false, report, progress: () => undefined })
    const changes = this.#events.filter((event): event is Change => 'value' in event)
    const kept = new Set([...final.log, ...final.directory])
    return {
      problems: [...this.#problems, ...checkLinearisable(this.#events, final)].slice(0, 20),
      changes: changes.length,
      synced: changes.filter(({ isSynced }) => isSynced).length,
      reads: this.#events.filter(event => 'values' in event).length,
      lost: changes.filter(({ kind, value }) => kind !== 'set' && !kept.has(value)).length,
      faults: this.#faults,
      errors: this.#errors,
    }
  }

  async #start(writer: Writer): Promise<void> {
    for (const start = performance.now(); ;) {
      try {
        await writer.mount.start(writer.options)
        break
      } catch (error) {
        if (performance.now() - start > START_MS) throw error
        this.#options.log(`mount ${writer.number} did not start: ${String(error)}`)
        await writer.mount.end()
        await writer.mount.unmountDead()
        await sleep(200)
      }
    }
    writer.soundMs = performance.now()
    writer.isUp = true
  }

  // ---- operations

  async #work(writer: Writer): Promise<void> {
    const random = new Random(this.#random.below(2 ** 31))
    while (!this.#isOver) {
      if (writer.isUp) {
        writer.running++
        await this.#once(writer, random).finally(() => writer.running--)
      }
      await sleep(random.below(30))
    }
  }

  async #once(writer: Writer, random: Random): Promise<void> {
    const { dir } = writer.mount
    const isSyncing = random.below(4) === 0
    const kind = random.below(20)
    if (kind < 7)
      await this.#change(writer, 'append', async value => {
        const handle = await open(join(dir, 'log'), 'a')
        try {
          await handle.write(`${value}\n`)
        } finally {
          await handle.close()
        }
      })
    else if (kind < 11) await this.#read(writer, 'read log', async () => await linesOf(join(dir, 'log')))
    else if (kind < 14)
      await this.#change(writer, 'set', async value => {
        const path = join(dir, `new ${value}`)
        const handle = await open(path, 'wx')
        try {
          await handle.writeFile(registerBytes(value, LENGTHS[random.below(LENGTHS.length)] ?? 60))
        } finally {
          await handle.close()
        }
        await rename(path, join(dir, 'register'))
      })
    else if (kind < 17) await this.#read(writer, 'get', async () => [await registerIn(join(dir, 'register'))])
    else if (kind === 17) await this.#change(writer, 'mkdir', async value => await mkdir(join(dir, value)))
    else if (kind === 18) await this.#read(writer, 'readdir', async () => await namesIn(dir))
    else await this.#exclusive(writer)
    if (isSyncing) await this.#sync(writer)
  }

  async #change(writer: Writer, kind: Change['kind'], work: (value: string) => Promise<void>): Promise<void> {
    const value = `d${++this.#count}-${writer.number}`
    const { number: mount } = writer
    const start = performance.now()
    const event = { kind, value, mount, start, isSynced: false }
    try {
      await work(value)
      const change: Change = { ...event, end: performance.now(), isUnsure: false }
      this.#events.push(change)
      writer.unstored.push(change)
    } catch (error) {
      this.#tolerate(error)
      this.#events.push({ ...event, end: Infinity, isUnsure: true })
    }
  }

  async #read(
    writer: Writer,
    kind: 'read log' | 'readdir' | 'get',
    work: () => Promise<readonly string[]>,
  ): Promise<void> {
    const start = performance.now()
    const { losses } = writer
    try {
      const values = await work()
      // It may have begun on a fenced mount.
      if (writer.losses !== losses) return
      this.#events.push({ kind, values, mount: writer.number, start, end: performance.now() })
    } catch (error) {
      if (error instanceof MixedError) this.#problems.push(error.message)
      else this.#tolerate(error)
    }
  }

  /** All mounts try the same names. */
  async #exclusive(writer: Writer): Promise<void> {
    const name = `lock ${Math.floor(performance.now() / 500)}`
    const start = performance.now()
    try {
      await (await open(join(writer.mount.dir, name), 'wx')).close()
    } catch (error) {
      this.#tolerate(error)
      return
    }
    const made: Exclusive = {
      kind: 'exclusive',
      name,
      mount: writer.number,
      start,
      end: performance.now(),
      isUnsure: false,
    }
    this.#events.push(made)
    writer.unstored.push(made)
  }

  async #sync(writer: Writer): Promise<void> {
    const before = new Set(writer.unstored)
    try {
      const handle = await open(writer.mount.dir, 'r')
      try {
        await handle.sync()
      } finally {
        await handle.close()
      }
    } catch (error) {
      this.#tolerate(error)
      return
    }
    for (const change of before) if (!change.isUnsure && 'isSynced' in change) change.isSynced = true
    writer.unstored = writer.unstored.filter(change => !before.has(change))
  }

  /** Failures with an errno are what faults lead to. */
  #tolerate(error: unknown): void {
    if (!(error instanceof Error && 'code' in error)) throw error
    const code = String(error.code)
    this.#errors[code] = (this.#errors[code] ?? 0) + 1
  }

  // ---- faults

  /** Lets a fenced mount rejoin. What it has shown since it was last sound is its own state alone. */
  async #guard(writer: Writer): Promise<void> {
    while (!this.#isOver) {
      await sleep(GUARD_MS)
      if (!writer.isUp) continue
      const asked = performance.now()
      try {
        const mount = mountedAt(writer.mount.dir)
        if (mount === undefined) continue
        const paths = await controlPaths(mount.device, ownerOf(mount))
        const { connection } = await callDaemon(paths, 'status', {}, CALL_MS)
        if (connection?.state !== 'fenced') {
          writer.soundMs = asked
          continue
        }
        this.#lose(writer)
        await callDaemon(paths, 'rejoin', {}, CALL_MS)
        this.#lose(writer)
        writer.soundMs = performance.now()
        this.#options.log(`${Math.round(writer.soundMs)} ms: mount ${writer.number}: rejoined`)
        this.#faults['rejoined'] = (this.#faults['rejoined'] ?? 0) + 1
      } catch {
        // The next time.
      }
    }
  }

  /** What is not stored may be lost; what a fenced mount has shown counts no more. */
  #lose(writer: Writer): void {
    for (const change of writer.unstored) change.isUnsure = true
    writer.unstored = []
    writer.losses++
    this.#events = this.#events.filter(
      event => !('values' in event) || event.mount !== writer.number || event.end < writer.soundMs,
    )
  }

  async #disturb(): Promise<void> {
    const random = this.#random
    const writer = this.#writers[random.below(MOUNTS)]
    if (writer === undefined) return
    const forMs = random.below(4) === 0 ? LONG_MS : 200 + random.below(2500)
    const faults: Readonly<Record<string, () => Promise<void>>> = {
      'no fault': async () => await sleep(forMs),
      'connections cut': async () => {
        writer.proxy.cutAll()
        await sleep(300)
      },
      partition: async () => {
        writer.proxy.isRefusing = true
        writer.proxy.cutAll()
        await sleep(forMs)
        writer.proxy.isRefusing = false
      },
      'answers to COMMIT lost': async () => {
        writer.proxy.cutAt(random.below(2) === 0 ? 'zblkfs_add_all' : 'zblkfs_add_transaction', 'answer')
        await sleep(500)
      },
      'answers about the lease lost': async () => {
        writer.proxy.cutAt(random.below(2) === 0 ? 'zblkfs_take_lease' : 'zblkfs_release_grant', 'answer')
        await sleep(500)
      },
      paused: async () => {
        writer.mount.signal('SIGSTOP')
        await sleep(forMs)
        writer.mount.signal('SIGCONT')
      },
      killed: async () => await this.#kill(writer),
      'server restarted': async () => {
        await this.#server.stop('immediate')
        await this.#server.start()
      },
      ...this.#bucketFaults(Math.min(forMs, 2500)),
    }
    const names = Object.keys(faults)
    const name = names[random.below(names.length)] ?? 'no fault'
    this.#options.log(
      `${Math.round(performance.now())} ms: mount ${writer.number}: ${name}, after ${this.#count} changes`,
    )
    this.#faults[name] = (this.#faults[name] ?? 0) + 1
    await faults[name]?.()
  }

  #bucketFaults(forMs: number): Readonly<Record<string, () => Promise<void>>> {
    const proxy = this.#remote?.proxy
    if (proxy === undefined) return {}
    const fail = (fault: S3Fault) => async (): Promise<void> => {
      proxy.fault = () => (Math.random() < 0.7 ? fault : undefined)
      await sleep(forMs)
      proxy.fault = () => undefined
    }
    return {
      'bucket: 503': fail('busy'),
      'bucket: bodies cut': fail('cut'),
      'bucket: bits flipped': fail('flip'),
      'bucket: answers lost': fail('lost'),
      'bucket: partition': fail('reset'),
    }
  }

  async #kill(writer: Writer): Promise<void> {
    writer.isUp = false
    await writer.mount.end()
    // Operations end with the daemon. One that ran after the unmount would find the directory below the mount.
    for (const start = performance.now(); writer.running > 0 && performance.now() - start < END_MS;)
      await sleep(10)
    await writer.mount.unmountDead()
    writer.soundMs = Math.min(writer.soundMs, performance.now())
    this.#lose(writer)
    await this.#start(writer)
  }

  /** What each mount shows once everything is stored. */
  async #finals(): Promise<readonly Final[]> {
    const finals: Final[] = []
    for (const writer of this.#writers) {
      for (const start = performance.now(); ;) {
        try {
          await this.#guardOnce(writer)
          const { dir } = writer.mount
          finals.push({
            log: await linesOf(join(dir, 'log')),
            directory: await namesIn(dir),
            register: await registerIn(join(dir, 'register')),
          })
          break
        } catch (error) {
          if (performance.now() - start > END_MS) throw error
          await sleep(300)
        }
      }
    }
    return finals
  }

  async #guardOnce(writer: Writer): Promise<void> {
    const mount = mountedAt(writer.mount.dir)
    if (mount === undefined) return
    const paths = await controlPaths(mount.device, ownerOf(mount))
    const { connection } = await callDaemon(paths, 'status', {}, CALL_MS)
    if (connection?.state !== 'fenced') return
    this.#lose(writer)
    await callDaemon(paths, 'rejoin', {}, CALL_MS)
  }
}

const isAbsent = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT'

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'latin1')
  } catch (error) {
    if (isAbsent(error)) return ''
    throw error
  }
}

async function linesOf(path: string): Promise<readonly string[]> {
  const text = await textOf(path)
  return text === '' ? [] : text.split('\n').slice(0, text.endsWith('\n') ? -1 : undefined)
}

const namesIn = async (dir: string): Promise<readonly string[]> =>
  (await readdir(dir)).filter(name => name.startsWith('d'))
