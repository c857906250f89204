/**
 * What a store may offer beside the contract of store.ts. A caller asks the store: `store.capabilities.intents` is
 * there or it is not. A caller never looks at the store's class, and what a capability does not say may not be
 * relied on.
 *
 * | capability | offers                                                         |
 * |------------|----------------------------------------------------------------|
 * | `intents`  | bytes that are durable before they are part of a transaction   |
 * | `watching` | a call when another process has committed                      |
 *
 * `test/store/contract/` has a suite for each; every store runs those of the capabilities that it offers.
 */
import type { Tid } from './ids.ts'

export interface Capabilities {
  readonly intents?: Intents | undefined
  readonly watching?: Watching | undefined
}

/** The intents that follow the last transaction. */
export interface FoundIntents {
  readonly entries: readonly Uint8Array[]
  /** Whether an entry behind them is damaged, so that later entries are lost. */
  readonly isDamaged: boolean
}

/**
 * Bytes that are durable but in no transaction yet: one write and one sync, where a transaction takes more. The next
 * transaction voids them. Until {@link Intents.read} was called, `commit` rejects while there are entries: it would
 * void what was never replayed.
 */
export interface Intents {
  /** Reads the entries added since the last transaction, in order; an earlier process may have added them. */
  read(): Promise<FoundIntents>

  /**
   * Adds an entry that follows the last transaction as of this call. At most one call may be under way. Resolves to
   * true when the entry is on disk, and to false when it could not be written (no room, for example): then no entry
   * can be added before the next transaction.
   */
  add(bytes: Uint8Array): Promise<boolean>
}

/** Follows the commits of other processes. */
export interface Watching {
  /**
   * Calls `onAdvance` when there is a transaction later than `after`, and again for each later one; commits that come
   * in quick succession share a call. A call starts only after the promise of the one before has settled.
   * @returns a function that stops watching; a call under way ends by itself.
   */
  watch(watcher: Watcher): () => void
}

export interface Watcher {
  /** The last transaction that the caller knows. */
  readonly after: Tid
  /** Receives the last transaction's tid. */
  readonly onAdvance: (lastTid: Tid) => Promise<void>
  /** Receives the first error of a run of failures, of the store or of `onAdvance`. Watching goes on. */
  readonly onError: (error: unknown) => void
  /** The longest delay between a commit and its call, in milliseconds, where the store polls. */
  readonly intervalMs: number
}
