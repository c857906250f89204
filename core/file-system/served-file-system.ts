/** The interface of a filesystem for the daemon, beyond its operations. */
import type { Tid } from '../../store/ids.ts'
import type { AccessLog } from './access-log.ts'
import type { FileSystemStats } from './file-system-stats.ts'
import type { Caller, Operations } from './operations.ts'

/** The changes of a filesystem that are in memory alone. */
export interface Unstored {
  readonly bytes: number
  /** Why the last attempt to store them failed; undefined if it did not. */
  readonly failure: unknown
}

/** Something that is not stored. Paths are relative to the root, one character per byte. */
export type UnstoredPath =
  /** Its data, attributes or entries are not stored. */
  | { readonly kind: 'changed'; readonly path: string }
  /** As 'changed', and the last transaction has it at `from`. The content of a directory moves with it. */
  | { readonly kind: 'renamed'; readonly path: string; readonly from: string }
  /** The last transaction has it. */
  | { readonly kind: 'removed'; readonly path: string }

/** A name of a moment. */
export interface Tag {
  readonly name: string
  readonly tid: Tid
}

/**
 * Changes of the present by means of the past, and delimited transactions. Paths are relative to the root; they and names have
 * one character per byte. Moments are in the notation of store/moments.ts. `by` is the process
 * for which a change is made.
 */
export interface HistoryOperations {
  /**
   * Names a moment, the present if absent.
   * @param moves whether an existing tag of another moment is moved; true if absent.
   * @param holds true: the tag cannot be moved or deleted from now on; false: it can again; absent: as before. Without `when`, an
   *   existing tag keeps its moment then.
   * @throws StoreError if there is no such moment, the name is taken, or the tag to be moved is held.
   */
  tag(name: string, when?: string, moves?: boolean, by?: Caller, holds?: boolean): Promise<Tag>
  /** @throws StoreError if there is no such tag, or it is held. */
  untag(name: string, by?: Caller): Promise<void>
  /** Undoes a transaction, or all up to another one, by a new one. @throws UndoClashError, StoreError; then nothing is changed. */
  undo(undone: Tid, upTo?: Tid, by?: Caller): Promise<Tid>
  /**
   * Makes paths what they were at a moment, as one transaction; '' is the whole tree. What was not there then is removed if
   * `deletes`, else it stays. Resolves to the last transaction if there was nothing to do.
   * @throws StoreError, ErrnoError; then everything since the beginning is rolled back.
   */
  restore(paths: readonly string[], when: string, deletes: boolean, by?: Caller): Promise<Tid>
  /**
   * Makes a copy of a path as of a moment at `to`. An existing file keeps its inode; without `replaces` it is an error.
   * @throws StoreError, ErrnoError
   */
  restoreAs(path: string, when: string, to: string, replaces: boolean, by?: Caller): Promise<Tid>
  /** Makes an independent copy, as of `at` or now, that shares all bytes; in an existing directory under the source's name. */
  clone(source: string, target: string, at?: string, by?: Caller): Promise<Tid>
  /** Opens a transaction: nothing is stored until commit or rollBack. @throws StoreError */
  begin(): Promise<void>
  /**
   * Stores everything since begin as one transaction. @throws StoreError; then it is rolled back, and another caller's may be open
   * already, which a {@link HistoryOperations.rollBack} would hit.
   */
  commit(message?: string): Promise<Tid>
  /** Drops everything since begin. */
  rollBack(): Promise<void>
}

/** The options that can be changed while a filesystem is in use; absent ones stay. */
export interface Adjustments {
  readonly ignoresAccess?: boolean | undefined
  readonly commitIntervalMs?: number | undefined
  readonly dirtySizeBytes?: number | undefined
}

/** What a mount has of the right to write, where several mounts write in turns. */
export type LeaseState = 'held' | 'not held' | 'lost'

export interface ServedFileSystem extends Operations {
  /** Absent if the filesystem is read-only. */
  readonly history?: HistoryOperations | undefined
  /** The same operations for callers other than the kernel, which is notified of their changes. */
  readonly besideKernel: Operations
  /** Its readers see each request of the driver. Absent if the filesystem has none. */
  readonly accessLog?: AccessLog
  /** Counters and sizes, for monitoring; absent for a database of ZODB's. */
  stats?(): FileSystemStats
  /** Changes options in use; absent for a database of ZODB's. */
  adjust?(adjustments: Adjustments): void
  /** Stores everything up to now; resolves to the last transaction's tid. */
  sync(message?: string): Promise<Tid>
  /** The last stored transaction's tid. */
  lastTid(): Promise<Tid>
  /** What is not stored; absent where nothing can be changed. */
  readonly unstored?: Unstored | undefined
  /** Everything that is not stored, in the order of paths. @throws StoreError */
  unstoredPaths?(): Promise<readonly UnstoredPath[]>
  /** The right to write, of a filesystem that several mounts write in turns. */
  readonly lease?: LeaseState | undefined
  /** Continues as a writer after it was fenced; what is not stored is dropped. */
  rejoin?(): Promise<void>
  /** Resolves when the kernel has dropped its copies of what was changed elsewhere up to now. */
  settled?(): Promise<void>
  /** Stores everything although the files of the database were removed, so that their bytes can be saved. */
  storeUnnamed?(): Promise<void>
  /** Drops unstored changes and closes the database. */
  abandon?(): Promise<void>
  /** Stores everything and closes the database. May be repeated after a failure. */
  close(): Promise<void>
}
