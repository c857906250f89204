/** The counters and sizes of a filesystem. */
import type { ConnectionStatistics } from '../objects/connection.ts'

/** Sizes in bytes. */
export interface FileSystemStats {
  /** Number of calls by operation. */
  readonly operations: Readonly<Record<string, number>>
  readonly bytesRead: number
  readonly bytesWritten: number
  readonly commits: number
  readonly failedCommits: number
  /** Sum of the time that commits took. */
  readonly commitMs: number
  readonly cacheBytes: number
  readonly cacheLimitBytes: number
  /** Uses of an object in memory, and objects read from the store. */
  readonly cacheHits: number
  readonly cacheMisses: number
  readonly dirtyBytes: number
  readonly dirtyLimitBytes: number
  /** The age of the oldest change that is not stored; 0 if all is stored. */
  readonly dirtyAgeMs: number
  /** Inodes of the live tree. */
  readonly inodesInUse: number
  readonly openMoments: number
  /** Objects in memory, by class and status. */
  readonly objects: ConnectionStatistics['classes']
  readonly residentBytes: number
}
