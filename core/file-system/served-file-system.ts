/** The interface of a filesystem for the daemon, beyond its operations. */
import type { Tid } from '../../store/ids.ts'
import type { History } from './history/history.ts'
import type { Operations } from './operations.ts'

/** The changes of a filesystem that are in memory alone. */
export interface Unstored {
  readonly bytes: number
  /** Why the last attempt to store them failed; undefined if it did not. */
  readonly failure: unknown
}

export interface ServedFileSystem extends Operations {
  /** Absent if the filesystem is read-only. */
  readonly history?: History | undefined
  /** Stores everything up to now; resolves to the last transaction's tid. */
  sync(message?: string): Promise<Tid>
  /** The last stored transaction's tid. */
  lastTid(): Promise<Tid>
  /** What is not stored; absent where nothing can be changed. */
  readonly unstored?: Unstored | undefined
  /** Stores everything although the files of the database were removed, so that their bytes can be saved. */
  storeUnnamed?(): Promise<void>
  /** Drops what is not stored, and lets go of the database. */
  abandon?(): Promise<void>
  /** Stores everything and closes the database. May be repeated after a failure. */
  close(): Promise<void>
}
