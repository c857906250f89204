/** The capability to write beside other processes. */
import type { WriterGoneError } from './errors.ts'
import type { Tid } from './ids.ts'

/**
 * Writing beside other processes, in turns. At any time at most one store, the **holder**, has the right to commit; it keeps it until
 * another store requests it, so that a store alone pays nothing. A store is opened as the holder.
 *
 * - The order of holders is that of the requests. A holder that is recalled is expected to commit what it has, and to release soon.
 * - A commit or an allocation of oids by a store that is not the holder is an error of its caller; the commit fails.
 * - A store that was cut off from the database is **fenced** by the next one that asks, within 10 s after its last sign of life: its commits
 *   fail with a WriterGoneError, and so do its requests.
 */
export interface Leasing {
  /**
   * Waits until this store is the holder, and reads what others have committed. At once if it is already. One call at a time. When the
   * caller continues, a release, a fence or a rejoin may have ended that: it asks {@link Leasing.isHolder}.
   * @returns the last transaction. @throws WriterGoneError; StoreError if another holder does not release.
   */
  acquire(): Promise<Tid>

  /** Whether this store is the holder as far as it knows: it has acquired the right, and has neither released nor lost it since. */
  isHolder(): boolean

  /** Passes the right on. No commit may be in progress or requested. */
  release(): Promise<void>

  /**
   * Recalls the right from another holder, without becoming the holder: resolves when everything that others had finished before the call is in
   * a transaction that can be read, with the last transaction. `isHeld`: this store has become the holder, because it is alone.
   */
  settle(): Promise<{ readonly tid: Tid; readonly isHeld: boolean }>

  /** Whether no other process can become the holder. */
  isAlone(): Promise<boolean>

  /**
   * Whether no other process can have become the holder since this store did, because the database has just answered. If not, what is in
   * memory may be out of date.
   */
  isConfirmed(): boolean

  /** Resolves when it is confirmed. @throws WriterGoneError if it was fenced; StoreError if the database does not answer. */
  confirm(): Promise<void>

  /** Replaces the functions that are called about the right to commit. */
  watch(watcher: LeaseWatcher): void

  /** Continues after this store was fenced, as a new writer that is not the holder. The caller drops what it has not committed. */
  rejoin(): Promise<void>
}

export interface LeaseWatcher {
  /** Another process requests the right that this store has. May be called more than once. */
  readonly onRecall: () => void
  /** This store was fenced. */
  readonly onFenced?: (error: WriterGoneError) => void
}
