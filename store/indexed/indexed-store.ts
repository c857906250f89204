/** The read half of a store over an index and a Bulk. Subclasses open, close and write these. */
import type { Capabilities, Copying } from '../capabilities.ts'
import { TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import type {
  ChangeSet,
  ReadableStore,
  Revision,
  RevisionPart,
  SliceRead,
  TransactionInfo,
  TransactionRange,
} from '../store.ts'
import { Reader, type ReaderParts } from './reader.ts'

export abstract class IndexedStore implements ReadableStore {
  readonly isForeign = false
  abstract readonly capabilities: Capabilities
  /** Provided by stores opened for reading. */
  protected readonly copying: Copying = {
    revisions: (after, upTo, limit) => this.#reader.rows(after, upTo, limit),
  }
  readonly #parts: ReaderParts
  readonly #reader: Reader

  constructor(parts: ReaderParts) {
    this.#parts = parts
    this.#reader = new Reader(parts)
  }

  /** May change: a database file can be moved while it is open. */
  get name(): string {
    return this.#parts.name
  }

  load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    return this.#reader.load(oids, at)
  }

  loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    return this.#reader.loadPart(oid, at, off, len, into)
  }

  readSlices(reads: readonly SliceRead[]): Promise<void> {
    return this.#reader.readSlices(reads)
  }

  revisions(oid: Oid, { after = TID_NONE, upTo = TID_MAX } = {}): Promise<readonly Tid[]> {
    return this.#reader.revisions(oid, after, upTo)
  }

  identities(oids: readonly Oid[], at: Tid): Promise<readonly (string | undefined)[]> {
    return this.#reader.identities(oids, at)
  }

  lastTid(): Promise<Tid> {
    return this.#reader.lastTid()
  }

  transactions(range: TransactionRange = {}): AsyncIterable<TransactionInfo> {
    return this.#reader.transactions(range)
  }

  changes(after: Tid, upTo: Tid = TID_MAX): AsyncIterable<ChangeSet> {
    return this.#reader.changes(after, upTo)
  }

  /** After the first call every other method rejects. */
  close(): Promise<void> {
    this.#reader.close()
    return Promise.resolve()
  }
}
