/** What the functions of streams.ts and raw-streams.ts take, and what they resolve to. */
import type { KeySource } from '../../store/encryption.ts'
import type { OnSent } from '../stream/send.ts'

export interface SendOptions {
  /** The stream has the transactions after this moment; absent: everything that is kept. */
  readonly from?: string
  /** The last moment of the stream; absent: the present. */
  readonly to?: string
  /** Sends bytes again that the receiver should have: for one that has dropped them (code `bytes-dropped`). */
  readonly selfContained?: boolean
  /** Returns the passphrase or key of an encrypted database, with which the stream is encrypted; by default as it was opened. */
  readonly key?: KeySource | undefined
  readonly signal?: AbortSignal
  readonly onProgress?: OnSent
}

/** What {@link receive} did. */
export interface Received {
  readonly transactions: number
  /** New bytes of records. */
  readonly bytes: number
  /** The last transaction of the database: 16 hex digits. */
  readonly tid: string
}

export interface ReceiveOptions {
  /**
   * Drops history and objects that the source has dropped, whenever the source was packed since. Nothing else may pack a
   * database that receives streams.
   */
  readonly pack?: boolean
  /** Returns the passphrase or key of an encrypted stream and its database. */
  readonly key?: KeySource | undefined
  readonly signal?: AbortSignal
  readonly onProgress?: (done: number, total: number) => void
  /** Receives a warning for the user. */
  readonly warn?: (message: string) => void
}

/** What {@link backup} did. */
export interface BackedUp {
  /** The paths of new files. */
  readonly files: readonly string[]
  readonly transactions: number
  readonly bytes: number
  /** The last transaction of the backup: 16 hex digits. */
  readonly tid: string
  /**
   * The new files have everything: `first` in an empty directory, `asked` with `full`, `dropped` if a pack has dropped the last transaction of the
   * earlier files. Absent if they continue these.
   */
  readonly full?: 'first' | 'asked' | 'dropped'
}

export interface BackupOptions {
  /** Begins with everything again. */
  readonly full?: boolean
  /** Returns the passphrase or key of an encrypted database, with which the files are encrypted; by default as it was opened. */
  readonly key?: KeySource | undefined
  readonly signal?: AbortSignal
  readonly onProgress?: (phase: 'write' | 'verify', done: number, total: number) => void
}
