/**
 * A RelStorage SQLite database (`main.sqlite3`) as a read-only store. Another process may be writing it.
 *
 * A call sees what is committed when it begins; SQLite's WAL lets the writer continue meanwhile. In a
 * history-preserving database the state at one `at` never changes. A **history-free** database keeps only each object's
 * newest record: an object that has changed since `at` is not found at `at` any more, its transactions are those that
 * still have a record, and they have no texts.
 */
import { absolutePath } from '../os-files.ts'
import { NO_BYTES } from '../bytes.ts'
import { textOf } from '../os-text.ts'
import { setImmediate } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { sqliteName } from '../sqlite-name.ts'
import { CannotOpenError, StoreError, messageOf } from '../errors.ts'
import { oid as oidOf, TID_MAX, TID_NONE, type Oid, type Tid, knownTid } from '../ids.ts'
import { readSlicesInTurn } from '../read-slices.ts'
import type {
  ChangeSet,
  Revision,
  RevisionPart,
  ReadOnlyStore,
  SliceRead,
  TransactionInfo,
  TransactionRange,
} from '../store.ts'
import { pagedTransactions } from '../paged-transactions.ts'
import { Polling } from '../polling.ts'
import type { Capabilities } from '../capabilities.ts'
import { prepareQueries, type Queries, type TransactionRow } from './queries.ts'
import { Records } from './records.ts'
import { relStorageSchema, type RelStorageSchema } from './schema.ts'

/** Transactions listed between two yields to the event loop. */
const PAGE_TRANSACTIONS = 256
/** Maximum number of oids in a ChangeSet. */
const MAX_CHANGE_OIDS = 10_000

/**
 * Opens a RelStorage database for reading.
 * @throws CannotOpenError if it is missing, not a SQLite database, has none of RelStorage's schemas, or has oids
 * beyond 2^53.
 */
export async function openRelStorage(path: string): Promise<ReadOnlyStore> {
  const name = absolutePath(path)
  let db: Database.Database | undefined
  try {
    db = new Database(sqliteName(name), { readonly: true, fileMustExist: true })
    const schema = relStorageSchema(db)
    if (schema === undefined)
      throw new CannotOpenError(
        `${name} is a SQLite database, but not a RelStorage one: it has none of RelStorage's schemas`,
      )
    const queries = prepareQueries(db, schema)
    const { lowest, highest } = queries.zoids.get() ?? { lowest: null, highest: null }
    for (const zoid of [lowest, highest])
      if (zoid !== null && (zoid < 0n || zoid > BigInt(Number.MAX_SAFE_INTEGER)))
        throw new CannotOpenError(
          `${name} holds object ${zoid}, whose id is beyond 2^53: zblkfs cannot name it`,
        )
    return new RelStorage(name, db, queries, schema)
  } catch (error) {
    db?.close()
    if (error instanceof CannotOpenError) throw error
    throw new CannotOpenError(
      `${name} cannot be opened as a RelStorage database: ${messageOf(error)}${advice(error)}`,
      { cause: error },
    )
  }
}

class RelStorage implements ReadOnlyStore {
  readonly name: string
  readonly readOnly = true
  readonly isForeign = true
  readonly capabilities: Capabilities
  readonly #db: Database.Database
  readonly #queries: Queries
  readonly #records: Records

  constructor(name: string, db: Database.Database, queries: Queries, schema: RelStorageSchema) {
    this.name = name
    this.#db = db
    this.#queries = queries
    this.#records = new Records(queries, read => this.#query(() => db.transaction(read)()))
    const keepsHistory = schema === 'history-preserving'
    this.capabilities = {
      watching: new Polling(() => this.lastTid()),
      foreignHistory: {
        keepsHistory,
        packedUpTo: async () =>
          keepsHistory
            ? this.#query(({ packedUpTo }) => knownTid(packedUpTo?.get() ?? TID_NONE))
            : await this.lastTid(),
      },
    }
  }

  async load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    return await this.#records.load(oids, at)
  }

  async loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    return await this.#records.loadPart(oid, at, { off, len, into })
  }

  async readSlices(reads: readonly SliceRead[]): Promise<void> {
    await readSlicesInTurn(this, reads)
  }

  async revisions(
    oid: Oid,
    { after = TID_NONE, upTo = TID_MAX }: { readonly after?: Tid; readonly upTo?: Tid } = {},
  ): Promise<readonly Tid[]> {
    return this.#query(queries => queries.revisions.all(oid, after, upTo).map(tid => this.#tid(tid)))
  }

  async lastTid(): Promise<Tid> {
    return this.#query(queries => this.#tid(queries.lastTid.get() ?? TID_NONE))
  }

  async *transactions(range: TransactionRange = {}): AsyncGenerator<TransactionInfo, void, undefined> {
    yield* pagedTransactions(
      range,
      PAGE_TRANSACTIONS,
      (after, upTo, reverse, limit) =>
        this.#query(({ ascending, descending }) =>
          (reverse ? descending : ascending).all(after, upTo, limit).map(row => this.#transactionInfo(row)),
        ),
      () => setImmediate(),
    )
  }

  async *changes(after: Tid, upTo: Tid = TID_MAX): AsyncGenerator<ChangeSet, void, undefined> {
    const next = (tid: bigint) => this.#query(({ nextChange }) => nextChange.get(tid, upTo) ?? undefined)
    for (let tid = next(after); tid !== undefined; tid = next(tid)) {
      for (let row = -1n; ;) {
        const rows = this.#query(({ changed }) => changed.all(tid, row, MAX_CHANGE_OIDS))
        const last = rows.at(-1)
        if (last === undefined) break
        yield { tid: this.#tid(tid), oids: rows.map(({ zoid }) => this.#oid(zoid)) }
        row = last.row
        await setImmediate()
      }
    }
  }

  async close(): Promise<void> {
    this.#db.close()
  }

  #query<T>(ask: (queries: Queries) => T): T {
    if (!this.#db.open) throw new StoreError(`${this.name} was closed`)
    try {
      return ask(this.#queries)
    } catch (error) {
      if (error instanceof StoreError) throw error
      throw new StoreError(`${this.name} cannot be read: ${messageOf(error)}${advice(error)}`, {
        cause: error,
      })
    }
  }

  /** @param zoid of a row, which may hold a value of any type. */
  #oid(zoid: unknown): Oid {
    if (typeof zoid !== 'bigint')
      throw new StoreError(`${this.name} holds an object whose id is not an integer`)
    if (zoid >= 0n && zoid <= BigInt(Number.MAX_SAFE_INTEGER)) return oidOf(zoid)
    throw new StoreError(`${this.name} holds object ${zoid}, whose id is beyond 2^53: zblkfs cannot name it`)
  }

  #tid(tid: unknown): Tid {
    if (typeof tid === 'bigint' && tid >= 0n && tid <= TID_MAX) return knownTid(tid)
    throw new StoreError(`${this.name} holds a transaction whose id is not one`)
  }

  #transactionInfo(row: TransactionRow): TransactionInfo {
    return {
      tid: this.#tid(row.tid),
      user: text(row.username),
      description: text(row.description),
      extension: row.extension instanceof Uint8Array ? row.extension : NO_BYTES,
      objects: Number(row.objects),
      bytes: Number(row.bytes),
    }
  }
}

/** RelStorage stores texts as blobs; older versions, as text. */
function text(value: unknown): string {
  if (value instanceof Uint8Array) return textOf(value)
  return typeof value === 'string' ? value : ''
}

/** A hint if SQLite finds its own structures damaged. */
function advice(error: unknown): string {
  const isDamage = error instanceof Database.SqliteError && error.code.startsWith('SQLITE_CORRUPT')
  return isDamage ? ": restore it from a copy, or see what sqlite3's .recover can save" : ''
}
