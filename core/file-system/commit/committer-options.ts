/** What a committer (committer.ts) works with, and what it reports. */
import type { Logger } from 'pino'
import type { Tid } from '../../../store/ids.ts'
import type { Connection } from '../../objects/connection.ts'
import type { ReadWriteLock } from '../locks.ts'
import type { Bookkeeping } from './bookkeeping.ts'
import type { Changes } from './changes.ts'
import type { StagedIntents } from './staged-intents.ts'

export interface CommitterOptions {
  readonly connection: Connection
  readonly gate: ReadWriteLock
  readonly bookkeeping: Bookkeeping
  readonly changes: Changes
  readonly intents: StagedIntents
  /** Returns the tid for the next transaction; undefined if the store has no intent log. */
  readonly reserveTid: (() => Promise<Tid>) | undefined
  /** Delay between the first change and its commit. */
  /** Changed by a remount. */
  commitIntervalMs: number
  /** Maximum bytes of changes in memory. A commit starts at half of it. */
  dirtySizeBytes: number
  /** Has the kernel send pages changed through mappings; undefined if mappings cannot exist. Never rejects. */
  readonly collectPages: () => Promise<void> | undefined
  /** Adds the noted access times to the changes; called with the gate shared. */
  readonly storeAccessTimes: (isLast: boolean) => Promise<void>
  readonly log: Logger
}

/** The last commit, if it failed. */
export interface CommitFailure {
  readonly error: unknown
  /** Its number, as `Committer.attempts` counts. */
  readonly attempt: number
  readonly atMs: number
}
