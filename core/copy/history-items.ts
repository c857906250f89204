/** A history on its way to another database: transactions, each followed by its records and its end. */
import type { RecordSlice } from '../../store/changes.ts'
import type { Oid } from '../../store/ids.ts'
import type { TransactionInfo } from '../../store/store.ts'

/** What the target stores with a transaction. */
export type TransactionHead = Pick<TransactionInfo, 'tid' | 'user' | 'description' | 'extension'>

/** Bytes that are on their way. */
export interface NewBytes {
  readonly len: number
  /** Undefined if a pack has dropped the revision meanwhile. */
  readonly read: () => Promise<readonly Uint8Array[] | undefined>
}

/** A record: `head`, then `body`, then `tail`. */
export interface CopiedRecord {
  readonly oid: Oid
  /** Null is a tombstone. */
  readonly head: Uint8Array | null
  /** A slice is of a record that the target has, or that precedes this one. */
  readonly body: NewBytes | RecordSlice | undefined
  readonly tail: Uint8Array
}

export type HistoryItem =
  | { readonly kind: 'transaction'; readonly head: TransactionHead }
  | { readonly kind: 'record'; readonly record: CopiedRecord }
  | { readonly kind: 'end' }

export const isNew = (body: NewBytes | RecordSlice): body is NewBytes => 'read' in body
