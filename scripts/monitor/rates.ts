/** The difference of two figures of a mount: what happened between them, by second. */
import { BUCKET_BOUNDS_SECONDS, type RequestFigures } from '../../core/file-system/request-meter.ts'
import type { MountStats } from '../../mount/daemon/mount-stats.ts'

export interface OperationRate {
  readonly name: string
  readonly perSecond: number
  readonly totalMs: number
  readonly averageMs: number
  /** The latency that 99 % of the requests did not exceed, up to the width of a bucket. */
  readonly p99Ms: number
  readonly errorsPerSecond: number
}

/** All by second, unless the unit is named. */
export interface Rates {
  /** The operations that took place, the one that took most time first. */
  readonly operations: readonly OperationRate[]
  readonly requests: number
  readonly errors: number
  readonly readBytes: number
  readonly writtenBytes: number
  readonly commits: number
  readonly failedCommits: number
  readonly commitAverageMs: number
  /** In [0, 1]; undefined if no object was used. */
  readonly hitRatio: number | undefined
  readonly storedBytes: number
  readonly revisions: number
  /** Processor time, 1 being one processor. */
  readonly processors: number
}

const NO_REQUESTS: RequestFigures = { count: 0, errors: 0, totalMs: 0, buckets: [] }

/** The rates between two figures of the same mount; if it was mounted anew in between, since then. */
export function ratesBetween(before: MountStats | undefined, after: MountStats): Rates {
  const first = before?.sinceMs === after.sinceMs ? before : undefined
  const seconds = Math.max(0.001, (after.timeMs - (first?.timeMs ?? after.sinceMs)) / 1000)
  const each = (pick: (stats: MountStats) => number | undefined): number =>
    Math.max(0, (pick(after) ?? 0) - ((first && pick(first)) ?? 0)) / seconds
  const commits = each(s => s.fileSystem?.commits)
  const hits = each(s => s.fileSystem?.cacheHits)
  const uses = hits + each(s => s.fileSystem?.cacheMisses)
  const attempts = commits + each(s => s.fileSystem?.failedCommits)
  const operations = operationRates(first, after, seconds)
  return {
    operations,
    requests: sum(operations.map(({ perSecond }) => perSecond)),
    errors: sum(operations.map(({ errorsPerSecond }) => errorsPerSecond)),
    readBytes: each(s => s.fileSystem?.bytesRead),
    writtenBytes: each(s => s.fileSystem?.bytesWritten),
    commits,
    failedCommits: each(s => s.fileSystem?.failedCommits),
    commitAverageMs: attempts === 0 ? 0 : each(s => s.fileSystem?.commitMs) / attempts,
    hitRatio: uses === 0 ? undefined : hits / uses,
    storedBytes: each(s => s.database?.storedBytes),
    revisions: each(s => s.database?.revisions),
    processors: each(s => s.processorMs) / 1000,
  }
}

function operationRates(
  before: MountStats | undefined,
  after: MountStats,
  seconds: number,
): readonly OperationRate[] {
  return Object.entries(after.requests)
    .map(([name, figures]) => {
      const earlier = before?.requests[name] ?? NO_REQUESTS
      const count = figures.count - earlier.count
      const totalMs = figures.totalMs - earlier.totalMs
      const buckets = figures.buckets.map((bucket, i) => bucket - (earlier.buckets[i] ?? 0))
      return {
        name,
        totalMs,
        perSecond: count / seconds,
        averageMs: count === 0 ? 0 : totalMs / count,
        p99Ms: percentileMs(buckets, count, 0.99),
        errorsPerSecond: (figures.errors - earlier.errors) / seconds,
      }
    })
    .filter(({ perSecond }) => perSecond > 0)
    .sort((a, b) => b.totalMs - a.totalMs)
}

/** The upper bound of the bucket that has the request at `part` of all, in order of latency. */
function percentileMs(buckets: readonly number[], count: number, part: number): number {
  let left = count * part
  for (const [i, bucket] of buckets.entries()) {
    left -= bucket
    if (left <= 0 && bucket > 0) return (BUCKET_BOUNDS_SECONDS[i] ?? Infinity) * 1000
  }
  return 0
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
