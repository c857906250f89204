/**
 * The records of a connection's view: the pending record of an object if there is one, otherwise the store's at the
 * view's moment. For data that is read without an object per record.
 */
import type { Awaitable } from '../../store/awaitable.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import type { RecordSource } from '../../store/changes.ts'
import type { Revision, RevisionPart, SliceRead, Store } from '../../store/store.ts'
import type { PendingRecords } from './pending-records.ts'

/** What reads the data of records. */
export type DataReads = Pick<Records, 'at' | 'pending' | 'load' | 'readSlices'>

export class Records {
  readonly #store: Store
  readonly #pending: PendingRecords
  readonly #view: { readonly at: Tid }

  /** @param view the moment at which the store is read; it may move. */
  constructor(store: Store, pending: PendingRecords, view: { readonly at: Tid }) {
    this.#store = store
    this.#pending = pending
    this.#view = view
  }

  /** The moment of the view. */
  get at(): Tid {
    return this.#view.at
  }

  /** The newest record of an object that is not in the store yet. */
  pending(oid: Oid): RecordSource | undefined {
    return this.#pending.get(oid)?.source
  }

  /** The first `len` bytes of a stored record; undefined if the object does not exist. @throws as {@link Store.load}. */
  start(oid: Oid, len: number): Promise<RevisionPart | undefined> {
    return this.#store.loadPart(oid, this.at, 0, len)
  }

  /** Stored records, of the view's moment or another, in the order of the oids. @throws as {@link Store.load}. */
  load(oids: readonly Oid[], at: Tid = this.at): Promise<readonly (Revision | undefined)[]> {
    return this.#store.load(oids, at)
  }

  /** Texts that equal stored records of the view's moment have in common ({@link Store.identities}). */
  async identities(oids: readonly Oid[]): Promise<readonly (string | undefined)[]> {
    return (await this.#store.identities?.(oids, this.at)) ?? oids.map(() => undefined)
  }

  /** Reads parts of stored records, of any moment. @throws as {@link Store.readSlices}. */
  readSlices(reads: readonly SliceRead[]): Awaitable<void> {
    return this.#store.readSlices(reads)
  }

  /** The transactions that changed an object, newest first, whatever the view's moment. */
  revisions(oid: Oid): Promise<readonly Tid[]> {
    return this.#store.revisions(oid)
  }
}
