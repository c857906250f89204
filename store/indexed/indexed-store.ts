/**
 * The read half of a store over an index and a Bulk, with the capabilities that reading and notes suffice for. Subclasses open,
 * close and write these.
 */
import type { Awaitable } from '../awaitable.ts'
import type { Added, Capabilities, Compressing, Space, Sums } from '../capabilities.ts'
import type { Copying, Lineage } from '../copying.ts'
import { COMPRESSION, compressionName } from '../compression.ts'
import { ReadOnlyError, StoreError } from '../errors.ts'
import { formatTid, TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import { isKept, newestKeptUpTo, type KeptMoments } from '../kept-moments.ts'
import type {
  ChangeSet,
  ReadableStore,
  Revision,
  RevisionPart,
  SliceRead,
  TransactionInfo,
  TransactionRange,
} from '../store.ts'
import type { BulkScan } from './bulk.ts'
import { DatabaseClock, type ReadClock } from './database-clock.ts'
import type { IndexScan } from './index-scan.ts'
import { KEPT_MOMENTS, parseKeptMoments } from './kept-moments-note.ts'
import { IndexedMeasuring, type MeasuredStore } from './measuring.ts'
import type { PackSource } from './pack/pack-source.ts'
import { Reader, type ReaderParts } from './reader.ts'
import { IndexedLineage } from './lineage.ts'
import { IndexedRetaining, type Notes } from './retaining.ts'
import { spaceOf } from './revision-reader.ts'

export interface IndexedStoreParts extends ReaderParts {
  readonly scan: IndexScan
  readonly bulk: BulkScan
  /** The name of the note that has the database's id. */
  readonly idNote: string
}

export abstract class IndexedStore implements ReadableStore, MeasuredStore, Notes {
  readonly isForeign = false
  abstract readonly readOnly: boolean
  abstract readonly capabilities: Capabilities
  protected readonly copying: Copying = {
    revisions: (after, upTo, limit) => this.#reader.rows(after, upTo, limit),
    placesEnd: upTo => this.ask(() => this.#parts.scan.bulkEndAt(upTo)),
  }
  protected readonly measuring = new IndexedMeasuring(this)
  protected readonly retaining = new IndexedRetaining(this)
  protected readonly compressing: Compressing = {
    compression: async () => compressionName(await this.note(COMPRESSION)),
  }
  protected readonly dating: DatabaseClock
  protected readonly lineage: Lineage
  readonly #parts: IndexedStoreParts
  readonly #reader: Reader
  #isClosed = false

  /** @param readClock the machine's clocks, for tests. */
  constructor(parts: IndexedStoreParts, readClock?: ReadClock) {
    this.#parts = parts
    this.#reader = new Reader(parts)
    this.dating = new DatabaseClock(this, readClock)
    this.lineage = new IndexedLineage(this, parts.idNote)
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

  readSlices(reads: readonly SliceRead[]): Awaitable<void> {
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

  async isKept(at: Tid): Promise<boolean> {
    return isKept(await this.keptMoments(), at)
  }

  async keptUpTo(at: Tid): Promise<Tid | undefined> {
    return newestKeptUpTo(await this.keptMoments(), at)
  }

  /** The moments that the last pack kept. */
  async keptMoments(): Promise<KeptMoments> {
    return parseKeptMoments(await this.note(KEPT_MOMENTS))
  }

  /** As {@link IndexScan.note}. */
  note(name: string): Promise<string | undefined> {
    return this.ask(() => this.#parts.scan.note(name))
  }

  /** Stores a note durably. A store opened for reading rejects. */
  setNote(_name: string, _value: string): Promise<void> {
    return Promise.reject(new ReadOnlyError(`${this.name} is open for reading only`))
  }

  added(after: Tid, upTo: Tid): Promise<Added> {
    return this.ask(() => this.#parts.scan.added(after, upTo))
  }

  sums(): Promise<Sums> {
    return this.ask(() => this.#parts.scan.sums())
  }

  space(): Promise<Space> {
    return this.ask(() => spaceOf(this.#parts))
  }

  /** As {@link Measuring.availableBytes}. A subclass overrides it if its storage reports the number. */
  availableBytes(): Promise<number | undefined> {
    return Promise.resolve(undefined)
  }

  /** As {@link Measuring.securedBytes}; overridden likewise. */
  securedBytes(): Promise<number | undefined> {
    return Promise.resolve(undefined)
  }

  /** A reader over a separate connection. */
  abstract openSource(): PackSource

  /** After the first call every other method rejects. */
  close(): Promise<void> {
    this.#isClosed = true
    this.#reader.close()
    return Promise.resolve()
  }

  /** Part of {@link Pinning.pin}, once the pin is set: a pack stores the kept moments before it reads the pins. @throws StoreError */
  protected async assertKept(moments: readonly Tid[]): Promise<void> {
    const kept = await this.keptMoments()
    const forgotten = moments.find(moment => !isKept(kept, moment))
    if (forgotten !== undefined)
      throw new StoreError(
        `${this.name}: transaction ${formatTid(forgotten)} was forgotten by a pack: open it again`,
      )
  }

  /** Runs `ask` unless the store is closed; rejects with the store's errors. */
  protected async ask<T>(ask: () => Awaitable<T>): Promise<T> {
    if (this.#isClosed) throw new StoreError(`${this.name} is closed`)
    try {
      return await ask()
    } catch (error) {
      throw this.#parts.explain(error)
    }
  }
}
