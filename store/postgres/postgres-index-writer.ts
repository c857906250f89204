/** The writing side of the index (record-index.ts): one transaction of the server for each of ours. */
import { bytesOf } from '../os-text.ts'
import type { RowSeal } from '../encryption/row-seal.ts'
import type { Awaitable } from '../awaitable.ts'
import { randomUUID } from 'node:crypto'
import { DatabaseError } from 'pg'
import { ConflictError, StoreError } from '../errors.ts'
import { formatTid, oid as toOid, tid as toTid, TID_NONE, type Oid, type Tid } from '../ids.ts'
import type {
  ExpectedBase,
  IndexTransaction,
  IndexWriter,
  RevisionKey,
  RevisionRow,
  TransactionRow,
} from '../indexed/record-index.ts'
import { recordSize } from '../indexed/record-parts.ts'
import { rowSum, transactionSum } from '../indexed/row-sums.ts'
import { Pipeline } from './pipeline.ts'
import { ConnectionLostError } from './postgres-errors.ts'
import { PostgresIndex, type Queries } from './postgres-index.ts'
import { BEGIN_CHANGE, runChange } from './change.ts'
import type { Session } from './session.ts'
import { TRANSACTION_COLUMNS, transactionRow } from './rows.ts'
import { CONFLICT, FENCED, TID_TOO_OLD } from './schema.ts'
import { bigintArray, bigintOf, byteaArray, integerArray, numberOf } from './values.ts'
import type { WriterSession } from './writer-session.ts'

/** Maximum rows of one statement. */
const BATCH_ROWS = 2048
const BATCH_BYTES = 1 << 20

const LAST = `SELECT ${TRANSACTION_COLUMNS} FROM zblkfs.txn ORDER BY tid DESC LIMIT 1`
const ENDS =
  'SELECT coalesce(max(tid), 0), coalesce((SELECT max(oid) FROM zblkfs.revision), -1) FROM zblkfs.revision'
const ADD_REVISIONS = 'SELECT zblkfs.add_revisions($1, $2, $3, $4, $5, $6, $7)'
const ADD_TRANSACTION =
  'SELECT zblkfs.add_transaction($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)'
const NEWEST_TIDS = `
  SELECT coalesce(r.tid, 0) FROM unnest($1::bigint[]) WITH ORDINALITY AS k (oid, number)
  LEFT JOIN LATERAL (SELECT tid FROM zblkfs.revision WHERE oid = k.oid ORDER BY tid DESC LIMIT 1) AS r ON true
  ORDER BY k.number`
const REMOVE_PARTS = `
  DELETE FROM zblkfs.revision WHERE oid = ANY($1::bigint[]) AND tid = $2
  RETURNING oid, coalesce(octet_length(head), 0) + len + coalesce(octet_length(tail), 0)`
const BULK_END = 'coalesce((SELECT bulk_end FROM zblkfs.txn ORDER BY tid DESC LIMIT 1), 0)'
const NOTE_PARTS = 'UPDATE zblkfs.writer SET unfinished = $2 WHERE epoch = $1'
const DROP_PARTS = `
  WITH parts AS (
    UPDATE zblkfs.writer AS w SET unfinished = NULL FROM zblkfs.writer AS before
    WHERE w.epoch = before.epoch AND before.unfinished IS NOT NULL RETURNING before.unfinished AS tid
  ), gone AS (
    DELETE FROM zblkfs.revision AS r USING parts WHERE r.tid = parts.tid
  ), extents AS (
    DELETE FROM zblkfs.extent WHERE pos >= ${BULK_END} RETURNING epoch, counter
  ), released AS (
    UPDATE zblkfs.segment AS s SET released = now() FROM extents AS e WHERE s.epoch = e.epoch AND s.counter = e.counter
  )
  DELETE FROM zblkfs.bulk WHERE pos >= ${BULK_END}`
/** All of a transaction that has one batch of rows, and no bulk bytes: one statement, which needs no BEGIN. */
const ADD_ALL = `
  SELECT zblkfs.add_transaction($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14),
    zblkfs.add_revisions($2, $15, $16, $17, $18, $19, $20)`

export class PostgresIndexWriter implements IndexWriter {
  readonly extraRowBytes: number
  readonly looksUpNew: boolean
  readonly #seal: RowSeal | undefined
  readonly #writer: WriterSession
  /** Reads through the session of the transaction in progress. */
  readonly queries: Queries
  readonly #index: PostgresIndex
  #pipeline: Pipeline | undefined
  /** The transaction of the stored parts. */
  #partsOf: Tid | undefined

  /** @param seal undefined for a database that is not encrypted. */
  constructor(writer: WriterSession, seal?: RowSeal) {
    this.#writer = writer
    this.#seal = seal
    this.looksUpNew = writer.isShared
    this.extraRowBytes = seal?.extraBytes ?? 0
    this.queries = {
      query: async (text, values, name) => await (await writer.ready()).query(text, values, name),
    }
    this.#index = new PostgresIndex(this.queries, seal)
  }

  /** The transaction in progress. */
  get pipeline(): Pipeline {
    if (this.#pipeline === undefined) throw new StoreError('no transaction is in progress')
    return this.#pipeline
  }

  async last(): Promise<TransactionRow | undefined> {
    const session = await this.#writer.ready()
    const [[cells], [ends = []]] = await Promise.all([session.query(LAST), session.query(ENDS)])
    const found = cells === undefined ? undefined : transactionRow(cells)
    const lastTid = found?.row.tid ?? TID_NONE
    this.#writer.noteLast(lastTid)
    const wrong =
      bigintOf(ends[0]) > lastTid
        ? 'tid'
        : numberOf(ends[1]) >= (found?.row.nextOid ?? 1)
          ? 'oid'
          : found?.isIntact === false
            ? 'checksum'
            : undefined
    if (wrong !== undefined)
      throw new StoreError(
        `the last transaction, ${formatTid(lastTid)}, is damaged (its ${wrong} is wrong)`,
        { code: 'damaged-index' },
      )
    return found?.row
  }

  find(keys: readonly RevisionKey[]): Promise<readonly (RevisionRow | undefined)[]> {
    return this.#index.find(keys)
  }

  async begin(): Promise<IndexTransaction> {
    const session = await this.#writer.hold()
    const pipeline = new Pipeline(session)
    this.#pipeline = pipeline
    return new PostgresTransaction(
      {
        writer: this.#writer,
        session,
        pipeline,
        partsOf: this.#partsOf,
        seal: this.#seal,
        onEnd: () => {
          this.#pipeline = undefined
          this.#writer.release()
        },
      },
      tid => (this.#partsOf = tid),
    )
  }

  async dropParts(): Promise<void> {
    await runChange(this.#writer, DROP_PARTS, [], 'drop_parts')
    this.#partsOf = undefined
  }
}

interface TransactionParts {
  readonly writer: WriterSession
  readonly session: Session
  readonly pipeline: Pipeline
  readonly partsOf: Tid | undefined
  readonly seal: RowSeal | undefined
  readonly onEnd: () => void
}

class PostgresTransaction implements IndexTransaction {
  /** Always false: the outcome is determined before `commit` rejects. */
  readonly isInDoubt = false
  readonly #writer: WriterSession
  readonly #epoch: bigint
  readonly #session: Session
  readonly #pipeline: Pipeline
  readonly #partsOf: Tid | undefined
  readonly #seal: RowSeal | undefined
  readonly #onEnd: () => void
  readonly #onParts: (tid: Tid | undefined) => void
  #bases: readonly ExpectedBase[] = []
  #rows: RevisionRow[] = []
  #bytes = 0

  /** @param onParts receives the transaction of the stored parts when it changes. */
  constructor(
    { writer, session, pipeline, partsOf, seal, onEnd }: TransactionParts,
    onParts: (tid: Tid | undefined) => void,
  ) {
    this.#writer = writer
    this.#epoch = writer.epoch
    this.#session = session
    this.#pipeline = pipeline
    this.#partsOf = partsOf
    this.#seal = seal
    this.#onEnd = onEnd
    this.#onParts = onParts
  }

  /** Left to the commit, which holds the lock of the order of commits; parts belong to this writer alone. */
  expect(bases: readonly ExpectedBase[]): Awaitable<void> {
    this.#bases = bases.filter(({ base }) => base !== this.#partsOf)
    if (this.#partsOf !== undefined) return this.#check(bases)
  }

  async #check(bases: readonly ExpectedBase[]): Promise<void> {
    const oids = bigintArray(bases.map(({ oid }) => oid))
    const rows = await this.#session.query(NEWEST_TIDS, [oids], 'newest_tids')
    for (const [index, { oid, base }] of bases.entries()) {
      const current = tidOf(rows[index]?.[0] ?? undefined)
      if (current > base) throw new ConflictError(oid, base, current)
    }
  }

  async removeParts(oids: readonly Oid[], tid: Tid): Promise<readonly (number | undefined)[]> {
    const rows = await this.#pipeline.ask(REMOVE_PARTS, [bigintArray(oids), tid], 'remove_parts')
    const lengths = new Map(rows.map(([oid, length]) => [numberOf(oid), numberOf(length)]))
    return oids.map(oid => lengths.get(oid))
  }

  async keep(tid: Tid): Promise<void> {
    this.#send()
    this.#pipeline.send(BEGIN_CHANGE, [this.#epoch], 'begin_change')
    try {
      await this.#pipeline.commit(NOTE_PARTS, [this.#epoch, tid], 'note_parts')
    } catch (error) {
      throw this.#explain(error)
    }
    this.#onParts(tid)
    this.#onEnd()
  }

  add(added: RevisionRow): void {
    const row = this.#seal?.seal(added) ?? added
    if (this.#rows.length >= BATCH_ROWS || this.#bytes >= BATCH_BYTES) this.#send()
    this.#rows.push(row)
    this.#bytes += recordSize(row) - row.len
  }

  async commit(transaction: TransactionRow): Promise<void> {
    const row = this.#seal?.sealTexts(transaction) ?? transaction
    const commitId = randomUUID()
    try {
      const values = transactionValues(this.#epoch, commitId, row, this.#bases)
      if (this.#pipeline.isBegun) {
        this.#send()
        await this.#pipeline.commit(ADD_TRANSACTION, values, 'add_transaction')
      } else {
        await this.#pipeline.commit(ADD_ALL, [...values, ...rowValues(this.#rows)], 'add_all')
      }
    } catch (error) {
      if (!(error instanceof ConnectionLostError)) throw this.#explain(error)
      if (!(await this.#writer.isCommitted({ tid: row.tid, commitId }))) throw error
    }
    this.#writer.noteLast(row.tid)
    this.#onParts(undefined)
    this.#onEnd()
  }

  async rollback(): Promise<void> {
    await this.#pipeline.rollback()
    this.#onEnd()
  }

  #send(): void {
    const [first] = this.#rows
    if (first === undefined) return
    this.#pipeline.send(ADD_REVISIONS, [first.tid, ...rowValues(this.#rows)], 'add_revisions')
    this.#rows = []
    this.#bytes = 0
  }

  #explain(error: unknown): unknown {
    if (!(error instanceof DatabaseError)) return error
    if (error.code === FENCED) return this.#writer.fence('another writer has opened it', this.#epoch)
    if (error.code === TID_TOO_OLD)
      return this.#writer.fence(
        `it has a transaction that is not of this writer (${error.message})`,
        this.#epoch,
      )
    if (error.code !== CONFLICT) return error
    const [oid, base, current] = (error.detail ?? '').split(' ')
    return new ConflictError(toOid(numberOf(oid)), tidOf(base), tidOf(current))
  }
}

const tidOf = (text: string | undefined): Tid => toTid(bigintOf(text))

/** The values of {@link ADD_TRANSACTION}. */
function transactionValues(
  epoch: bigint,
  commitId: string,
  row: TransactionRow,
  bases: readonly ExpectedBase[],
): readonly (bigint | number | string | Uint8Array)[] {
  const { tid, user, description, extension, objects, bytes, nextOid, bulkEnd, stored } = row
  return [
    epoch,
    tid,
    commitId,
    bytesOf(user),
    bytesOf(description),
    extension,
    objects,
    bytes,
    nextOid,
    bulkEnd,
    stored,
    transactionSum(row) | 0,
    bigintArray(bases.map(({ oid }) => oid)),
    bigintArray(bases.map(({ base }) => base)),
  ]
}

/** The values of {@link ADD_REVISIONS} after the first. */
const rowValues = (rows: readonly RevisionRow[]): readonly Buffer[] => [
  bigintArray(rows.map(({ oid }) => oid)),
  integerArray(rows.map(({ oid, tid, head, pos, len, tail }) => rowSum(oid, tid, head, pos, len, tail))),
  byteaArray(rows.map(({ head }) => head)),
  bigintArray(rows.map(({ pos }) => pos)),
  bigintArray(rows.map(({ len }) => len)),
  byteaArray(rows.map(({ tail }) => tail)),
]
