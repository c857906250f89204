/** The metrics of a mount: name, meaning and value. docs/monitoring.md lists them; a test compares the two. */
import type { MountStats } from '../mount-stats.ts'

/** Label values and the value of each time series; none if the mount does not have the figure. */
export type Samples = readonly (readonly [label: string, value: number])[]

export interface MetricDefinition {
  readonly name: string
  readonly kind: 'counter' | 'gauge'
  readonly help: string
  /** The label that distinguishes the time series; absent if there is one. */
  readonly label?: string
  readonly samples: (stats: MountStats) => Samples
}

const SECOND_MS = 1000

function one(value: number | undefined): Samples {
  return value === undefined ? [] : [['', value]]
}

/** Makes definitions of metrics with at most one time series. */
const metric =
  (kind: MetricDefinition['kind']) =>
  (name: string, help: string, value: (stats: MountStats) => number | undefined): MetricDefinition => ({
    name,
    kind,
    help,
    samples: stats => one(value(stats)),
  })

const counter = metric('counter')
const gauge = metric('gauge')

/** The histogram of latencies, which is not in {@link METRICS}. */
export const LATENCY_METRIC = {
  name: 'zblkfs_request_duration_seconds',
  help: 'Time from reading a request of the kernel to writing its answer, by operation',
} as const

/** Always 1; its labels describe the mount. */
export const INFO_METRIC = {
  name: 'zblkfs_mount_info',
  help: 'Always 1; the labels have the version, database, directory, driver, and access (rw or ro)',
} as const

export const METRICS: readonly MetricDefinition[] = [
  {
    name: 'zblkfs_request_errors_total',
    kind: 'counter',
    help: 'Requests answered with an error, by error, except lookups that found nothing',
    label: 'error',
    samples: ({ errors }) => Object.entries(errors),
  },
  gauge(
    'zblkfs_start_time_seconds',
    'When it was mounted, in seconds since 1970',
    s => s.sinceMs / SECOND_MS,
  ),
  counter('zblkfs_read_bytes_total', 'Bytes of files read by requests', s => s.fileSystem?.bytesRead),
  counter(
    'zblkfs_written_bytes_total',
    'Bytes of files written by requests',
    s => s.fileSystem?.bytesWritten,
  ),
  counter('zblkfs_commits_total', 'Transactions stored', s => s.fileSystem?.commits),
  counter(
    'zblkfs_commit_failures_total',
    'Commits that failed; their changes stay in memory and are tried again',
    s => s.fileSystem?.failedCommits,
  ),
  counter(
    'zblkfs_commit_seconds_total',
    'Time that commits took',
    s => s.fileSystem && s.fileSystem.commitMs / SECOND_MS,
  ),
  gauge('zblkfs_storing_failed', '1 if the last commit failed, else 0', s =>
    s.failure === undefined ? 0 : 1,
  ),
  gauge('zblkfs_dirty_bytes', 'Changes in memory that are not stored', s => s.fileSystem?.dirtyBytes),
  gauge(
    'zblkfs_dirty_limit_bytes',
    'The bound of these (-o dirty_size), at which writes wait',
    s => s.fileSystem?.dirtyLimitBytes,
  ),
  gauge(
    'zblkfs_dirty_age_seconds',
    'Age of the oldest change that is not stored; 0 if all is stored',
    s => s.fileSystem && s.fileSystem.dirtyAgeMs / SECOND_MS,
  ),
  gauge('zblkfs_cache_bytes', 'Objects in memory', s => s.fileSystem?.cacheBytes),
  gauge('zblkfs_cache_limit_bytes', 'The bound of these (-o cache_size)', s => s.fileSystem?.cacheLimitBytes),
  counter('zblkfs_cache_hits_total', 'Uses of an object in memory', s => s.fileSystem?.cacheHits),
  counter('zblkfs_cache_misses_total', 'Objects read from the database', s => s.fileSystem?.cacheMisses),
  gauge('zblkfs_inodes_in_use', 'Inodes that the kernel refers to', s => s.fileSystem?.inodesInUse),
  gauge(
    'zblkfs_open_moments',
    'Moments of the past in use, which a pack keeps',
    s => s.fileSystem?.openMoments,
  ),
  gauge('zblkfs_database_bytes', 'Size of the database on disk', s => s.database?.totalBytes),
  gauge(
    'zblkfs_database_free_bytes',
    'Of these, free space that the next writes reuse',
    s => s.database?.freeBytes,
  ),
  gauge(
    'zblkfs_disk_available_bytes',
    'Free space on the disk of the database that data may use',
    s => s.database?.availableBytes,
  ),
  counter(
    'zblkfs_stored_bytes_total',
    'Bytes of all revisions ever stored: how fast history grows',
    s => s.database?.storedBytes,
  ),
  counter('zblkfs_stored_revisions_total', 'Revisions ever stored', s => s.database?.revisions),
  counter('zblkfs_packs_total', 'Packs that ended well', s => s.pack?.packs),
  counter('zblkfs_pack_failures_total', 'Packs that failed', s => s.pack?.failures),
  gauge('zblkfs_pack_running', '1 while a pack runs, else 0', s => s.pack && Number(s.pack.isRunning)),
  gauge(
    'zblkfs_pack_expected_bytes',
    'Approximate space that a pack would free, as of the last check',
    s => s.pack?.expectedBytes,
  ),
  gauge(
    'zblkfs_pack_end_time_seconds',
    'When the last pack ended, in seconds since 1970',
    s => s.pack?.endedMs && s.pack.endedMs / SECOND_MS,
  ),
  counter('zblkfs_warnings_total', 'Warnings in the log', s => s.problems.warnings),
  counter('zblkfs_errors_total', 'Errors in the log', s => s.problems.errors),
  counter('zblkfs_damage_total', 'Reads that found damage in the database', s => s.problems.damage),
  gauge('zblkfs_server_connected', "1 if the database's server answers, else 0", s =>
    s.isConnected === undefined ? undefined : Number(s.isConnected),
  ),
  gauge('zblkfs_resident_bytes', 'Memory of the daemon', s => s.residentBytes),
  counter('zblkfs_processor_seconds_total', 'Processor time of the daemon', s => s.processorMs / SECOND_MS),
]
