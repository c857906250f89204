/** The interface of a filesystem for the daemon, beyond its operations. */
import type { Tid } from '../../store/ids.ts'
import type { History } from './history/history.ts'
import type { Operations } from './operations.ts'

export interface ServedFileSystem extends Operations {
  /** Absent if the filesystem is read-only. */
  readonly history?: History | undefined
  /** Stores everything up to now; resolves to the last transaction's tid. */
  sync(message?: string): Promise<Tid>
  /** The last stored transaction's tid. */
  lastTid(): Promise<Tid>
  /** Stores everything and closes the database. May be repeated after a failure. */
  close(): Promise<void>
}
