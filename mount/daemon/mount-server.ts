/**
 * One mount while it is served: a filesystem, a driver, and the control socket.
 *
 * It ends in one of three ways, and in each everything is stored before the database is closed:
 *
 * 1. `stop`, for the `unmount` call: store, unmount, store changes made in between, close. If storing or unmounting
 *    fails, the mount stays and the caller gets the error.
 * 2. `terminate`, for a signal: the same, but a mount in use is detached.
 * 3. Unmounted from outside: the driver has ended; store and close. A failure has no caller to report to, so it is
 *    logged, and storing is retried.
 *
 * If nothing can be stored any more (the writer's thread has died), the mount is served until one of these ends it; then the
 * end, and the process, fail with a report of what is lost.
 */
import { isDeepStrictEqual } from 'node:util'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Capabilities } from '../../store/capabilities.ts'
import { DatabaseGoneError, StoreError, WriterGoneError } from '../../store/errors.ts'
import { formatTid, timeFromTid, type Tid } from '../../store/ids.ts'
import { DEFAULT_RETENTION, formatRetention, parseRetention } from '../../store/retention.ts'
import { type Driver, MountError } from '../drivers/driver.ts'
import { mountedAt } from '../mount-points/mount-table.ts'
import { recentJump } from './clock-watch.ts'
import { makeControlPath } from './control-path.ts'
import type { MountStatus } from './call-results.ts'
import { ControlServer } from './control-server.ts'
import { assertInvalidating, historyCalls, historyOf } from './history-calls.ts'
import { leaseCalls } from './lease-calls.ts'
import { type MountPacker, packsNothing } from './mount-packer.ts'
import type { MetricsPublisher } from './metrics/publish.ts'
import type { MetricsPlace, MountSettings } from './mount-settings.ts'
import { endService } from './end-service.ts'
import { changedSettings, type SettingChanges } from './remount.ts'
import type { OpenedFileSystem } from './open-file-system.ts'
import type { ServedFileSystem } from '../../core/file-system/served-file-system.ts'
import { ROOT_INO } from '../../core/file-system/operations.ts'
import { showAs } from '../../core/file-system/show-as.ts'
import { type MountStats, takeStats } from './mount-stats.ts'
import { Problems } from './problems.ts'
import { logFailure } from './log-failure.ts'
import { RequestMeter } from '../../core/file-system/request-meter.ts'
import { startDriver } from '../drivers/start-driver.ts'

const CLOSE_RETRY_MS = 5000
/** A removed database does not come back: a retry only logs that again. */
const GONE_RETRY_MS = 600_000
/** How long a lazy unmount waits for the mount's users. */
const LAZY_WAIT_MS = 1000
/** Maximum time for an unmounted mount to end; if it has not ended then, another process or mount namespace still uses it. */
const END_WAIT_MS = 5000

interface Logging {
  readonly log: Logger
  readonly problems: Problems
}

export class MountServer {
  /**
   * Resolves when everything is stored and the database is closed; the process may end then. Rejects with a StoreError that
   * says what is lost if nothing can be stored any more.
   */
  readonly ended: Promise<void>
  readonly #fileSystem: ServedFileSystem
  readonly #driver: Driver
  readonly #driverName: string
  #settings: MountSettings
  /** Whether a remount has made the mount read-only, of a database that is open for writing. */
  #isShownReadOnly = false
  readonly #log: Logger
  readonly #packer: MountPacker | undefined
  readonly #capabilities: Capabilities
  readonly #since = new Date()
  readonly #meter: RequestMeter
  readonly #problems: Problems
  #metrics: MetricsPublisher | undefined
  #lastTid: Tid
  #closing: Promise<Tid> | undefined
  /** Whether what cannot be stored is given up; {@link MountServer.#giveUp} is aborted then. */
  #discards = false
  readonly #giveUp = new AbortController()
  #lostChanges: StoreError | undefined
  #control: ControlServer | undefined

  private constructor(
    { fileSystem, settings, packer, capabilities }: OpenedFileSystem,
    started: { readonly name: string; readonly driver: Driver; readonly meter: RequestMeter },
    { log, problems }: Logging,
    lastTid: Tid,
  ) {
    this.#fileSystem = fileSystem
    this.#driver = started.driver
    this.#driverName = started.name
    this.#settings = settings
    this.#meter = started.meter
    this.#log = log
    this.#problems = problems
    this.#lastTid = lastTid
    this.#packer = packer
    this.#capabilities = capabilities
    packer?.watch()
    this.ended = this.#untilEnded()
    // It may have no listener; a rejection is logged anyway.
    this.ended.catch(() => undefined)
  }

  /** Mounts. If it rejects, nothing is mounted and the filesystem is closed. */
  static async start(opened: OpenedFileSystem, log: Logger, problems = new Problems()): Promise<MountServer> {
    const { fileSystem, settings } = opened
    let server: MountServer
    try {
      const lastTid = await fileSystem.lastTid()
      const meter = new RequestMeter()
      const started = await startDriver(settings.driver, showAs(fileSystem, settings.shown), {
        mountPoint: settings.directory,
        source: settings.fsname ?? settings.database,
        log,
        meter,
        accessLog: fileSystem.accessLog,
        // Clients write to head/watch.
        readOnly: settings.readOnly && settings.layout !== 'wcfs',
        allowOther: settings.allowOther,
        suid: settings.suid,
        noExec: settings.noExec,
        acl: settings.acl ?? false,
        noAtime: settings.ignoresAccess ?? false,
        dev: settings.dev,
        nonEmpty: settings.nonEmpty,
      })
      server = new MountServer(opened, { ...started, meter }, { log, problems }, lastTid)
    } catch (error) {
      await fileSystem.close()
      throw error
    }
    try {
      await server.#listen()
      if (settings.metrics !== undefined) await server.#publishMetrics(settings.metrics)
    } catch (error) {
      await server.terminate()
      throw error
    }
    return server
  }

  /** Stores everything up to now. */
  async sync(message?: string): Promise<Tid> {
    this.#lastTid = await this.#fileSystem.sync(message)
    return this.#lastTid
  }

  /**
   * Stores and unmounts; resolves to the last tid. A mount that is still used (by its users, if it is unmounted lazily;
   * by other mount namespaces, which have copies of it) is still served. @throws StoreError, MountError; then the mount stays,
   * unless nothing can be stored any more.
   */
  async stop(lazy: boolean): Promise<Tid> {
    await this.sync().catch((error: unknown) => {
      if (!(error instanceof WriterGoneError) && !this.#discards) throw error
    })
    // A reader that waits for the next line would keep a detached mount.
    if (lazy) this.#fileSystem.accessLog?.close()
    const unmounted = this.#driver.unmount(lazy).then(() => true)
    unmounted.catch((error: unknown) => logFailure(this.#log, error, 'not unmounted'))
    const isGone = await Promise.race([unmounted, sleep(lazy ? LAZY_WAIT_MS : END_WAIT_MS, false)])
    if (isGone) return await this.#closeFileSystem()
    return this.#discards ? this.#lastTid : await this.sync()
  }

  /** Unmounts lazily; what cannot be stored is lost. */
  async discard(): Promise<Tid> {
    this.#discards = true
    this.#giveUp.abort()
    return await this.stop(true)
  }

  /** What was lost: undefined if all is stored. */
  get lost(): StoreError | undefined {
    return this.#lostChanges
  }

  /** Stores and unmounts, even if it is in use. @throws StoreError if storing fails; then the mount stays. */
  async terminate(): Promise<Tid> {
    try {
      await this.stop(false)
    } catch (error) {
      if (!(error instanceof MountError)) throw error
      this.#log.warn({ err: error }, 'the mount is in use: it is detached')
      await this.stop(true)
    }
    return await this.#closeFileSystem()
  }

  async #untilEnded(): Promise<void> {
    await this.#driver.done
    await this.#control?.detach().catch(() => undefined)
    try {
      await this.#closeFileSystem()
    } finally {
      await Promise.all([
        endService('metrics', this.#metrics, this.#log),
        endService('control socket', this.#control, this.#log),
      ])
    }
    this.#log.info({ tid: formatTid(this.#lastTid) }, 'everything is stored, the mount has ended')
  }

  /** The last stored transaction known to the server. */
  get lastTid(): Tid {
    return this.#lastTid
  }

  async #listen(): Promise<void> {
    const mount = mountedAt(this.#settings.directory)
    if (mount === undefined) throw new MountError(`${this.#settings.directory} was unmounted at once`)
    const path = await makeControlPath(mount.device)
    this.#control = await ControlServer.listen(
      path,
      {
        status: () => this.#status(),
        stats: () => this.#stats(),
        sync: async ({ message }) => ({ tid: formatTid(await this.sync(message)) }),
        ...leaseCalls(this.#fileSystem),
        pack: async ({ before }) => {
          await this.#packerOrFail().start(before)
          return {}
        },
        packStatus: () => Promise.resolve(this.#packerOrFail().status),
        packCancel: async () => {
          await this.#packerOrFail().cancel()
          return {}
        },
        remount: ({ changes }) => this.#remount(changes),
        history: ({ keep }) => this.#history(keep),
        ...historyCalls(this.#fileSystem, this.#driver.canInvalidate),
        storeUnnamed: async () => {
          await this.#fileSystem.storeUnnamed?.()
          return { pid: process.pid }
        },
        unmount: async ({ lazy, discard = false }) => {
          const tid = formatTid(await (discard ? this.discard() : this.stop(lazy)))
          const { lost } = this
          return { tid, pid: process.pid, ...(lost !== undefined && { lost: lost.message }) }
        },
      },
      this.#log,
      {
        transactions: {
          begin: async () => {
            assertInvalidating(this.#driver.canInvalidate)
            await historyOf(this.#fileSystem).begin()
          },
          commit: message => historyOf(this.#fileSystem).commit(message),
          rollBack: () => historyOf(this.#fileSystem).rollBack(),
        },
        operations: () => {
          assertInvalidating(this.#driver.canInvalidate)
          return this.#fileSystem.besideKernel
        },
      },
    )
  }

  #packerOrFail(): MountPacker {
    if (this.#packer !== undefined) return this.#packer
    throw packsNothing(this.#settings.directory, this.#capabilities)
  }

  async #history(keep: string | undefined): Promise<{ readonly history: string }> {
    const packer = this.#packerOrFail()
    if (keep !== undefined) {
      const retention = parseRetention(keep)
      if (retention === undefined) throw new StoreError(`'${keep}' is not a retention`, { code: 'usage' })
      await packer.setRetention(retention)
      this.#log.info({ history: keep }, 'the time that history is kept was set')
    }
    return { history: formatRetention(packer.retention) }
  }

  async #status(): Promise<MountStatus> {
    const { database, directory, readOnly } = this.#settings
    const connection = this.#capabilities.connection?.state()
    // Without a connection the server is not asked, as this call must answer at once.
    const isReachable = connection?.state !== 'reconnecting'
    const { retaining, dating } = isReachable ? this.#capabilities : {}
    const clock = dating === undefined ? undefined : recentJump(await dating.timeline())
    const { unstored } = this.#fileSystem
    const failure = unstored?.failure
    return {
      pid: process.pid,
      database: this.#capabilities.presence?.path() ?? database,
      directory,
      driver: this.#driverName,
      readOnly: readOnly || this.#isShownReadOnly,
      since: this.#since.toISOString(),
      tid: formatTid(isReachable ? await this.#fileSystem.lastTid() : this.#lastTid),
      residentBytes: process.memoryUsage.rss(),
      unstoredBytes: unstored?.bytes ?? 0,
      ...(failure !== undefined && { failure: failure instanceof Error ? failure.message : 'unknown' }),
      isFull: !readOnly && isReachable && (await this.#fileSystem.statfs(ROOT_INO)).blocksAvailable === 0,
      ...(retaining !== undefined && {
        history: formatRetention((await retaining.retention()) ?? DEFAULT_RETENTION),
      }),
      ...(clock !== undefined && { clock }),
      ...(connection !== undefined && { connection }),
      ...(this.#fileSystem.lease !== undefined && { lease: this.#fileSystem.lease }),
      ...(this.#problems.last !== undefined && { problem: this.#problems.last }),
    }
  }

  async #remount(changes: SettingChanges): Promise<{ readonly readOnly: boolean }> {
    const settings = changedSettings(this.#settings, changes)
    const { metrics, readOnly } = changes
    // The kernel refuses changes then: what was accepted before is stored now.
    if (readOnly === true) await this.sync()
    // First what may fail: then nothing is changed.
    if (metrics !== undefined && !isDeepStrictEqual(metrics, this.#settings.metrics))
      await this.#publishMetrics(metrics)
    this.#fileSystem.adjust?.(changes)
    // Whether the database was opened for writing stays.
    this.#settings = { ...settings, readOnly: this.#settings.readOnly }
    this.#isShownReadOnly = readOnly ?? this.#isShownReadOnly
    this.#log.info({ changes }, 'options were changed')
    return { readOnly: settings.readOnly }
  }

  #stats(): Promise<MountStats> {
    return takeStats(
      {
        fileSystem: this.#fileSystem,
        capabilities: this.#capabilities,
        meter: this.#meter,
        problems: this.#problems,
        packer: this.#packer,
        sinceMs: this.#since.getTime(),
      },
      this.#lastTid,
    )
  }

  async #publishMetrics(place: MetricsPlace): Promise<void> {
    const { database, directory, readOnly } = this.#settings
    // Loaded on demand: most mounts do without it.
    const { publishMetrics } = await import('./metrics/publish.ts')
    const labels = { database, directory, driver: this.#driverName, access: readOnly ? 'ro' : 'rw' }
    const former = this.#metrics
    this.#metrics = await publishMetrics(place, labels, () => this.#stats(), this.#log)
    await former?.close()
  }

  /** Closes once, for all callers; retries until it succeeds. @throws StoreError that says what is lost. */
  #closeFileSystem(): Promise<Tid> {
    this.#closing ??= this.#closeUntilStored()
    return this.#closing
  }

  async #closeUntilStored(): Promise<Tid> {
    for (;;) {
      try {
        await this.#packer?.close()
        this.#lastTid = await this.#fileSystem.sync()
        await this.#fileSystem.close()
        return this.#lastTid
      } catch (error) {
        if (error instanceof WriterGoneError) throw await this.#lost(error)
        if (this.#discards && error instanceof StoreError) {
          this.#lostChanges = await this.#lost(error)
          await this.#fileSystem.abandon?.()
          return this.#lastTid
        }
        await this.#waitToRetry(error)
      }
    }
  }

  /** This process has the only copy of what is not stored: it stays until that is stored, or given up. */
  async #waitToRetry(cause: unknown): Promise<void> {
    const isGone = cause instanceof DatabaseGoneError
    this.#log.error(
      { err: cause },
      isGone
        ? 'this process has the only copy of the database, and stays: two signals SIGTERM give it up'
        : 'not all is stored: trying again; two signals SIGTERM give up what is not stored',
    )
    const { signal } = this.#giveUp
    await sleep(isGone ? GONE_RETRY_MS : CLOSE_RETRY_MS, undefined, { signal }).catch(() => undefined)
  }

  async #lost(cause: StoreError): Promise<StoreError> {
    const tid = await this.#fileSystem.lastTid()
    const lost = new StoreError(
      `${this.#settings.directory} is unmounted, but changes after transaction ${formatTid(tid)} ` +
        `(${new Date(timeFromTid(tid)).toISOString()}) are lost: ${cause.message}`,
      { cause },
    )
    this.#log.fatal({ err: lost }, 'changes are lost')
    return lost
  }
}
