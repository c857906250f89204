/**
 * The SQLite store's two halves: reading, on the event loop's thread over a connection of its own, and writing,
 * through the thread of writer.ts. schema.ts has the format, open-sqlite-store.ts what is checked before.
 */
import { statSync } from 'node:fs'
import type { Database } from 'better-sqlite3'
import type { Added, Capabilities, Intents, Pinning, Space } from '../capabilities.ts'
import { StoreError } from '../errors.ts'
import { formatTid, oid as toOid, TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import type {
  ChangeSet,
  NewTransaction,
  OidRange,
  Revision,
  RevisionPart,
  ReadableStore,
  ReadOnlyStore,
  SliceRead,
  TransactionInfo,
  TransactionRange,
  WritableStore,
} from '../store.ts'
import { readDatabaseId } from './open/database-id.ts'
import { IntentLog, waitingIntents } from './intent-log.ts'
import { Polling } from '../polling.ts'
import { isKept, type KeptMoments } from '../kept-moments.ts'
import { SqliteChecking } from './check/sqlite-checking.ts'
import { readKeptMoments } from './kept-moments.ts'
import { logBytesOnDisk } from './log.ts'
import type { WriterStats } from './writer/messages.ts'
import { spaceOf } from './pack/pack-reader.ts'
import type { PackStep, PackStepResult } from './pack/pack-steps.ts'
import { SqliteMeasuring } from './pack/sqlite-measuring.ts'
import { SqlitePacking } from './pack/sqlite-packing.ts'
import { pinnedMoments, ReaderPin } from './open/reader-pin.ts'
import { Reader } from './reader.ts'
import { storeError } from './sqlite-errors.ts'
import type { StartedWriter, WriterClient } from './writer/writer-client.ts'
import type { WriterLock } from './open/writer-lock.ts'

/** How large a database is now, and what was done to it since it was opened here. */
export interface SqliteStoreStats {
  /** On the disk, the log included. */
  readonly databaseBytes: number
  readonly walBytes: number
  /** Absent where the store is read-only. */
  readonly writer?: WriterStats
}

/** What both kinds share: reading. */
abstract class SqliteReads implements ReadableStore {
  readonly name: string
  readonly isForeign = false
  abstract readonly readOnly: boolean
  abstract readonly capabilities: Capabilities
  readonly #db: Database
  readonly #reader: Reader
  #closed = false
  #pin: ReaderPin | undefined

  constructor(name: string, db: Database) {
    this.name = name
    this.#db = db
    this.#reader = new Reader(db)
  }

  async load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    return this.#read(reader => reader.load(oids, at))
  }

  async loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    return this.#read(reader => reader.loadPart(oid, at, off, len, into))
  }

  // oxlint-disable-next-line require-await -- errors are to reject, not to throw
  async readSlices(reads: readonly SliceRead[]): Promise<void> {
    this.#read(reader => reader.readSlices(reads))
  }

  async revisions(oid: Oid, { after = TID_NONE, upTo = TID_MAX } = {}): Promise<readonly Tid[]> {
    return this.#read(reader => reader.revisions(oid, after, upTo))
  }

  async lastTid(): Promise<Tid> {
    return this.#read(reader => reader.lastTid())
  }

  transactions(range: TransactionRange = {}): AsyncIterable<TransactionInfo> {
    return this.#iterate(reader => reader.transactions(range))
  }

  changes(after: Tid, upTo: Tid = TID_MAX): AsyncIterable<ChangeSet> {
    return this.#iterate(reader => reader.changes(after, upTo))
  }

  /** As {@link Pinning.pin}. */
  async pin(moments: readonly Tid[]): Promise<boolean> {
    if (this.#closed) throw new StoreError(`${this.name} is closed`)
    try {
      this.#pin ??= new ReaderPin(this.name)
      this.#pin.set(moments)
    } catch {
      return false
    }
    const kept = await this.keptMoments()
    const forgotten = moments.find(moment => !isKept(kept, moment))
    if (forgotten !== undefined)
      throw new StoreError(
        `${this.name}: transaction ${formatTid(forgotten)} was forgotten by a pack: open it again`,
      )
    return true
  }

  /** Which moments the last pack kept. */
  // oxlint-disable-next-line require-await -- errors are to reject, not to throw
  async keptMoments(): Promise<KeptMoments> {
    return this.#read(() => readKeptMoments(this.#db))
  }

  /** As {@link Measuring.added}. */
  // oxlint-disable-next-line require-await -- errors are to reject, not to throw
  async added(after: Tid, upTo: Tid): Promise<Added> {
    return this.#read(reader => reader.added(after, upTo))
  }

  /** What the database takes on the disk. */
  // oxlint-disable-next-line require-await -- errors are to reject, not to throw
  async space(): Promise<Space> {
    return this.#read(() => spaceOf(this.#db, this.name))
  }

  protected readonly pinning: Pinning = {
    pin: moments => this.pin(moments),
    // oxlint-disable-next-line require-await -- errors are to reject, not to throw
    pinned: async () => pinnedMoments(this.name),
  }

  async isKept(at: Tid): Promise<boolean> {
    return isKept(await this.keptMoments(), at)
  }

  async close(): Promise<void> {
    if (!this.#closed) this.#reader.close()
    this.#closed = true
    this.#db.close()
    this.#pin?.release()
    this.#pin = undefined
  }

  stats(): SqliteStoreStats {
    const size = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0
    return {
      databaseBytes: size(this.name) + logBytesOnDisk(this.name),
      walBytes: size(`${this.name}-wal`),
    }
  }

  #read<T>(read: (reader: Reader) => T): T {
    if (this.#closed) throw new StoreError(`${this.name} is closed`)
    try {
      return read(this.#reader)
    } catch (error) {
      throw storeError(error, this.name)
    }
  }

  async *#iterate<T>(start: (reader: Reader) => Iterator<T>): AsyncGenerator<T> {
    const items = this.#read(start)
    for (;;) {
      const item = this.#read(() => items.next())
      if (item.done === true) return
      yield item.value
    }
  }
}

/** A database opened for reading, beside its writer where there is one. */
export class SqliteStore extends SqliteReads implements ReadOnlyStore {
  readonly readOnly = true
  readonly capabilities: Capabilities = {
    watching: new Polling(() => this.lastTid()),
    pinning: this.pinning,
    measuring: new SqliteMeasuring(this),
    checking: new SqliteChecking(this.name),
  }
}

/** A database opened for writing: the only one, as long as its lock is held. */
export class WritableSqliteStore extends SqliteReads implements WritableStore {
  readonly readOnly = false
  readonly capabilities: Capabilities
  readonly #writer: WriterClient
  readonly #lock: WriterLock
  /** Absent where the database's id is damaged: nobody could tell later whose its entries are. */
  readonly #intentLog: IntentLog | undefined
  /** Whether there are no entries that somebody would have to read before the next transaction. */
  #areIntentsRead = false
  #lastTid: Tid
  #nextOid: number
  #closing: Promise<void> | undefined

  constructor(name: string, db: Database, { client, lastTid, nextOid }: StartedWriter, lock: WriterLock) {
    super(name, db)
    this.#writer = client
    this.#lock = lock
    this.#lastTid = lastTid
    this.#nextOid = nextOid
    const id = readDatabaseId(db)
    this.#intentLog = id === undefined ? undefined : new IntentLog(name, id, () => this.#lastTid)
    this.capabilities = {
      intents: this.#intentLog && this.#intents(this.#intentLog),
      pinning: this.pinning,
      packing: new SqlitePacking(this),
      measuring: new SqliteMeasuring(this),
    }
  }

  #intents(log: IntentLog): Intents {
    return {
      read: async () => {
        this.#areIntentsRead = true
        return await log.read()
      },
      add: bytes => log.add(bytes),
    }
  }

  // oxlint-disable-next-line require-await -- errors are to reject, not to throw
  async allocateOids(count: number): Promise<OidRange> {
    if (this.#closing !== undefined) throw new StoreError(`${this.name} is closed`)
    const first = toOid(this.#nextOid)
    this.#nextOid = toOid(this.#nextOid + count)
    return { first, count }
  }

  async commit(transaction: NewTransaction): Promise<Tid> {
    if (this.#closing !== undefined) throw new StoreError(`${this.name} is closed`)
    // Objects that come with their oids (a copy from elsewhere) must not meet ours.
    for (const { oid } of transaction.changes) if (oid >= this.#nextOid) this.#nextOid = oid + 1
    if (!this.#areIntentsRead) await this.#assertNoIntents()
    this.#lastTid = await this.#writer.commit(transaction, this.#nextOid)
    return this.#lastTid
  }

  /** A transaction would make void what nobody has taken. */
  async #assertNoIntents(): Promise<void> {
    const found = await this.#intentLog?.read()
    if (found !== undefined && found.entries.length > 0)
      throw new StoreError(waitingIntents(this.name, this.#lastTid, found.entries.length))
    this.#areIntentsRead = true
  }

  /** Does one step of a pack, after the commits that were asked for before it. @throws as commit. */
  async packStep(step: PackStep): Promise<PackStepResult> {
    if (this.#closing !== undefined) throw new StoreError(`${this.name} is closed`)
    return await this.#writer.pack(step)
  }

  /** Says what this process does with the database ("mounted at /x"), for those who are refused because of it. */
  describe(purpose: string): void {
    this.#lock.describe(purpose)
  }

  override stats(): SqliteStoreStats {
    const { stats } = this.#writer
    return stats === undefined ? super.stats() : { ...super.stats(), writer: stats }
  }

  override close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    // The reader leaves first: the last connection, one that may write, tidies the WAL away.
    await super.close()
    await this.#intentLog?.close()
    try {
      await this.#writer.close()
    } finally {
      this.#lock.release()
    }
  }
}
