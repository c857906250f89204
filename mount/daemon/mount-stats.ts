/** The figures of one mount: counters since it was mounted, and sizes now. */
import type { RequestFigures, RequestMeter } from '../../core/file-system/request-meter.ts'
import type { FileSystemStats } from '../../core/file-system/file-system-stats.ts'
import type { ServedFileSystem } from '../../core/file-system/served-file-system.ts'
import type { Capabilities } from '../../store/capabilities.ts'
import { formatTid, TID_NONE, type Tid } from '../../store/ids.ts'
import type { Problems } from './problems.ts'

/** Every field can be serialised as JSON. Sizes are in bytes. */
export interface MountStats {
  /** When these figures were taken, in milliseconds since 1970, and since when counters count. */
  readonly timeMs: number
  readonly sinceMs: number
  /** The last transaction, 16 hex digits. */
  readonly tid: string
  /** The requests of the kernel, by operation. */
  readonly requests: Readonly<Record<string, RequestFigures>>
  /** The number of answers by error, as ENOENT. */
  readonly errors: Readonly<Record<string, number>>
  readonly problems: { readonly warnings: number; readonly errors: number; readonly damage: number }
  /** Why the last commit failed; absent if it did not. */
  readonly failure?: string
  readonly residentBytes: number
  readonly processorMs: number
  /** Absent for a database of ZODB's. */
  readonly fileSystem?: FileSystemStats
  /** Absent if the store cannot be measured, or its server does not answer. */
  readonly database?: DatabaseFigures
  /** Absent for a mount that does not pack. */
  readonly pack?: PackFigures
  /** Whether the database's server answers; absent for a database in a file. */
  readonly isConnected?: boolean
}

export interface DatabaseFigures {
  readonly totalBytes: number
  /** Free space inside the database. */
  readonly freeBytes: number
  /** Free space on its disk; absent if it is unknown or unlimited. */
  readonly availableBytes?: number
  /** Bytes and number of all revisions that were ever stored: counters. */
  readonly storedBytes: number
  readonly revisions: number
}

/** The work of a mount's packs since it was mounted. */
export interface PackFigures {
  readonly isRunning: boolean
  readonly packs: number
  readonly failures: number
  /** Approximate space that a pack would have freed at the last check, in bytes. */
  readonly expectedBytes: number
  /** When the last pack ended, in milliseconds since 1970; absent if there was none. */
  readonly endedMs?: number
}

export interface StatsSources {
  readonly fileSystem: ServedFileSystem
  readonly capabilities: Capabilities
  readonly meter: RequestMeter
  readonly problems: Problems
  readonly packer: { readonly figures: PackFigures } | undefined
  readonly sinceMs: number
}

/** Takes the figures of a mount. Quick, but for the server of a database that has one. */
export async function takeStats(sources: StatsSources, lastTid: Tid): Promise<MountStats> {
  const { fileSystem, capabilities, meter, problems, packer, sinceMs } = sources
  const { warnings, errors, damage } = problems
  const connection = capabilities.connection?.state()
  // Without a connection the server is not asked, as this must answer at once.
  const isReachable = connection?.state !== 'reconnecting'
  const tid = isReachable ? await fileSystem.lastTid() : lastTid
  const database = isReachable ? await databaseFigures(capabilities, tid) : undefined
  const failure = fileSystem.unstored?.failure
  const { user, system } = process.cpuUsage()
  return {
    timeMs: Date.now(),
    sinceMs,
    tid: formatTid(tid),
    requests: meter.requests(),
    errors: meter.errors(),
    problems: { warnings, errors, damage },
    ...(failure !== undefined && { failure: failure instanceof Error ? failure.message : 'unknown' }),
    residentBytes: process.memoryUsage.rss(),
    processorMs: (user + system) / 1000,
    ...(fileSystem.stats !== undefined && { fileSystem: fileSystem.stats() }),
    ...(database !== undefined && { database }),
    ...(packer !== undefined && { pack: packer.figures }),
    ...(connection !== undefined && { isConnected: connection.state === 'connected' }),
  }
}

async function databaseFigures({ measuring }: Capabilities, tid: Tid): Promise<DatabaseFigures | undefined> {
  if (measuring === undefined) return undefined
  const [{ totalBytes, freeBytes }, availableBytes, { storedBytes, revisions }] = await Promise.all([
    measuring.space(),
    measuring.availableBytes(),
    measuring.added(TID_NONE, tid),
  ])
  return {
    totalBytes,
    freeBytes,
    storedBytes,
    revisions,
    ...(availableBytes !== undefined && { availableBytes }),
  }
}
