/**
 * A store over a SQLite index and segment files. It reads on the event loop's thread over its own connection, and
 * writes through the thread of writer.ts. schema.ts has the format; open-sqlite-store.ts opens and checks a database.
 */
import { statSync } from '../os-files.ts'
import type { Database } from 'better-sqlite3'
import type { Capabilities, Pinning } from '../capabilities.ts'
import type { MasterKey } from '../encryption/keys.ts'
import { type Access, openerOf } from '../encryption/seals.ts'
import { intentSealOf } from '../encryption/intent-seal.ts'
import { StoreError } from '../errors.ts'
import type { Tid } from '../ids.ts'
import { keyKeepingOf } from '../indexed/key-keeping.ts'
import { IndexedStore } from '../indexed/indexed-store.ts'
import { WriteHalf } from '../indexed/write-half.ts'
import type { LogFiles } from '../segment-files/log-files.ts'
import { ColdRanges } from '../segment-files/cold-ranges.ts'
import { LogReader } from '../segment-files/log-reader.ts'
import type { NewTransaction, OidRange, ReadOnlyStore, WritableStore } from '../store.ts'
import { readDatabaseId } from './open/database-id.ts'
import { waitingIntents } from './intents/intent-file.ts'
import { IntentLog } from './intents/intent-log.ts'
import { Polling } from '../polling.ts'
import { walHints } from './wal-hints.ts'
import { SqliteChecking } from './check/sqlite-checking.ts'
import type { PackSource } from '../indexed/pack/pack-source.ts'
import { epochsOf } from './epoch-rows.ts'
import { logBytesOnDisk, logFilesOf } from './log.ts'
import type { WriterStats } from './writer/messages.ts'
import type { PackStep, PackStepResult } from '../indexed/pack/pack-steps.ts'
import { SqlitePacking } from './pack/sqlite-packing.ts'
import { pinnedMoments, ReaderPin } from './open/reader-pin.ts'
import { RawSource } from './raw/raw-source.ts'
import { roomBeforeReserve, securedBytes } from './reserve.ts'
import { storeError } from './sqlite-errors.ts'
import { SqliteIndex } from './sqlite-index.ts'
import { SqliteIndexScan } from './sqlite-index-scan.ts'
import { openRevisionReader } from './revision-reader.ts'
import type { StartedWriter, WriterClient } from './writer/writer-client.ts'
import type { DatabasePlace } from './open/database-place.ts'
import type { WriterLock } from './open/writer-lock.ts'

/** The present size of a database, and the writer's counters since it was opened. */
export interface SqliteStoreStats {
  /** Size on disk, including the log. */
  readonly databaseBytes: number
  readonly walBytes: number
  /** Absent if the store is read-only. */
  readonly writer?: WriterStats
}

const encryptingOf = (notes: IndexedStore, key: Access): Pick<Capabilities, 'encrypting'> => {
  const encrypting = keyKeepingOf(notes, key)
  return encrypting === undefined ? {} : { encrypting }
}

/** The read side, shared by both kinds of stores. */
abstract class SqliteReads extends IndexedStore {
  readonly #place: DatabasePlace
  readonly #db: Database
  readonly #files: LogFiles
  readonly #key: Access
  #pin: ReaderPin | undefined

  constructor(place: DatabasePlace, db: Database, key: Access) {
    const files = logFilesOf(db, 'read', undefined, () => place.held)
    const opener = openerOf(key, place.path, () => epochsOf(db))
    super({
      get name() {
        return place.path
      },
      index: new SqliteIndex(db, opener?.rows),
      scan: new SqliteIndexScan(db, opener?.rows),
      bulk: new LogReader(files, opener?.frames, new ColdRanges(files)),
      explain: error => storeError(error, place.path),
      idNote: 'database id',
    })
    this.#place = place
    this.#db = db
    this.#files = files
    this.#key = key
  }

  /** As {@link Measuring.availableBytes}. */
  // oxlint-disable-next-line require-await -- a statfs and a stat take some microseconds, less than a thread's turn
  override async availableBytes(): Promise<number | undefined> {
    try {
      return roomBeforeReserve(this.#place.held)
    } catch {
      // The database was closed, for example.
      return undefined
    }
  }

  /** As {@link Measuring.securedBytes}. */
  // oxlint-disable-next-line require-await -- as availableBytes
  override async securedBytes(): Promise<number | undefined> {
    try {
      return securedBytes(this.#place.held)
    } catch {
      return undefined
    }
  }

  /** A reader of all revisions, over a connection of its own. */
  openSource(): PackSource {
    return openRevisionReader(this.name, this.#key)
  }

  protected readonly pinning: Pinning = {
    pin: moments =>
      this.ask(async () => {
        try {
          this.#pin ??= new ReaderPin(this.#place.held)
          this.#pin.set(moments)
        } catch {
          return false
        }
        await this.assertKept(moments)
        return true
      }),
    // oxlint-disable-next-line require-await -- errors must reject, not throw
    pinned: async () => pinnedMoments(this.#place.held),
  }

  override async close(): Promise<void> {
    await super.close()
    this.#files.close()
    this.#db.close()
    this.#pin?.release()
    this.#pin = undefined
  }

  stats(): SqliteStoreStats {
    const size = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0
    return {
      databaseBytes: size(this.#place.held) + logBytesOnDisk(this.#place.held),
      walBytes: size(`${this.#place.held}-wal`),
    }
  }
}

/** A database opened for reading; a writer may be active. */
export class SqliteStore extends SqliteReads implements ReadOnlyStore {
  readonly readOnly = true
  readonly #place: DatabasePlace
  readonly capabilities: Capabilities

  constructor(place: DatabasePlace, db: Database, key: Access) {
    super(place, db, key)
    this.#place = place
    this.capabilities = {
      watching: new Polling(() => this.lastTid(), undefined, walHints(place.held)),
      pinning: this.pinning,
      retaining: this.retaining,
      dating: this.dating,
      measuring: this.measuring,
      compressing: this.compressing,
      ...encryptingOf(this, key),
      ...(key !== undefined && { rawSending: new RawSource(this.name) }),
      checking: new SqliteChecking(this.name, key),
      copying: this.copying,
      lineage: this.lineage,
    }
  }

  override async close(): Promise<void> {
    await super.close()
    this.#place.close()
  }
}

/** A database opened for writing, which holds its lock. */
export class WritableSqliteStore extends SqliteReads implements WritableStore {
  readonly readOnly = false
  readonly capabilities: Capabilities
  readonly #writer: WriterClient
  readonly #lock: WriterLock
  /** Absent if the database's id is damaged: its entries could not be distinguished from another database's. */
  readonly #intentLog: IntentLog | undefined
  readonly #writing: WriteHalf
  #closing: Promise<void> | undefined

  constructor(
    place: DatabasePlace,
    db: Database,
    { client, lastTid, nextOid }: StartedWriter,
    lock: WriterLock,
    key: MasterKey | undefined,
  ) {
    super(place, db, key)
    this.#writer = client
    this.#lock = lock
    const id = readDatabaseId(db)
    this.#intentLog =
      id === undefined ? undefined : new IntentLog(place, id, () => this.#writing.lastTid, intentSealOf(key))
    this.#writing = new WriteHalf({
      name: place.path,
      lastTid,
      nextOid,
      commit: (transaction, next) => client.commit(transaction, next),
      clock: this.dating,
      spill: (changes, next, tid) => client.spill(changes, next, tid),
      dropSpilled: () => client.dropSpilled(),
      intents: this.#intentLog,
      describeWaiting: (base, count) => waitingIntents(place.path, base, count),
    })
    this.capabilities = {
      intents: this.#writing.intents,
      pinning: this.pinning,
      packing: new SqlitePacking(this, key),
      retaining: this.retaining,
      dating: this.dating,
      spilling: this.#writing.spilling,
      presence: {
        assertThere: () => this.#follow(),
        path: () => place.path,
        storeUnnamed: isAllowed => client.storeUnnamed(isAllowed),
      },
      measuring: this.measuring,
      copying: this.copying,
      lineage: this.lineage,
      compressing: this.compressing,
      ...encryptingOf(this, key),
    }
  }

  allocateOids(count: number): Promise<OidRange> {
    return this.#writing.allocateOids(count)
  }

  commit(transaction: NewTransaction): Promise<Tid> {
    return this.#writing.commit(transaction)
  }

  /** Runs one step of a pack after the commits queued before it. @throws as commit. */
  async packStep(step: PackStep): Promise<PackStepResult> {
    if (this.#closing !== undefined) throw new StoreError(`${this.name} is closed`)
    return await this.#writer.pack(step)
  }

  override async setNote(name: string, value: string): Promise<void> {
    await this.packStep({ kind: 'note', name, value })
  }

  override stats(): SqliteStoreStats {
    const { stats } = this.#writer
    return stats === undefined ? super.stats() : { ...super.stats(), writer: stats }
  }

  override close(): Promise<void> {
    this.#writing.close()
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Has the files next to a renamed database renamed too. */
  async #follow(): Promise<void> {
    if (!this.#lock.place.isNamed) await this.#writer.follow()
  }

  async #close(): Promise<void> {
    await this.#writing.settled()
    // If it was removed, its name may be another database's.
    await this.#follow().catch(() => this.#lock.place.retire())
    // Close the reader first: the last connection, which must be able to write, removes the WAL.
    await super.close()
    await this.#intentLog?.close()
    try {
      await this.#writer.close()
    } finally {
      this.#lock.release()
    }
  }
}
