/** The part of the index for full scans (index-scan.ts). */
import type { RowSeal } from '../encryption/row-seal.ts'
import type { Added, RevisionSums, Sums } from '../capabilities.ts'
import type { StoredRevision } from '../stored-revisions.ts'
import type { Tid } from '../ids.ts'
import type { BulkRange } from '../indexed/bulk.ts'
import { unitsOf } from '../indexed/frame.ts'
import type {
  EntryKey,
  IndexEnd,
  IndexScan,
  IndexSpace,
  PackedTransaction,
  ScannedRow,
} from '../indexed/index-scan.ts'
import type { Queries } from './postgres-index.ts'
import { rowOrDamage } from '../indexed/record-parts.ts'
import { revisionColumns, revisionRow } from './rows.ts'
import { UNFINISHED } from './schema.ts'
import type { Cells } from './session.ts'
import { bigintArray, bigintOf, numberOf } from './values.ts'

const END = `
  SELECT greatest((SELECT max(tid) FROM zblkfs.txn), (
      SELECT tid FROM zblkfs.revision WHERE tid <> ALL (${UNFINISHED}) ORDER BY tid DESC LIMIT 1
    ), 0),
    coalesce(next_oid, 0), coalesce(bulk_end, 0)
  FROM (SELECT 1) AS one LEFT JOIN (SELECT next_oid, bulk_end FROM zblkfs.txn ORDER BY tid DESC LIMIT 1) AS last ON true`
const NOTE = 'SELECT value FROM zblkfs.meta WHERE name = $1'
const OIDS = 'SELECT DISTINCT oid FROM zblkfs.revision WHERE oid > $1 ORDER BY oid LIMIT $2'
const ENTRY = `oid, tid, head IS NULL AS gone, coalesce(octet_length(head), 0) + coalesce(octet_length(tail), 0) AS own, pos, len`
const REVISIONS_OF = `
  SELECT r.* FROM unnest($1::bigint[]) WITH ORDINALITY AS k (oid, number)
  CROSS JOIN LATERAL (
    SELECT ${ENTRY} FROM zblkfs.revision WHERE oid = k.oid AND tid <= $2 ORDER BY tid DESC LIMIT $3
  ) AS r ORDER BY k.number, r.tid DESC LIMIT $3`
const FOLLOWING = `SELECT ${ENTRY} FROM zblkfs.revision WHERE oid > $1 ORDER BY oid, tid DESC LIMIT $2`
const REST = `SELECT ${ENTRY} FROM zblkfs.revision WHERE oid = $1 AND tid < $2 ORDER BY tid DESC LIMIT $3`
const ROWS = `
  SELECT ${revisionColumns('r')} FROM zblkfs.revision AS r
  WHERE (oid = $1 AND tid < $2 OR oid > $1) AND oid >= $1 AND oid < $3 AND tid <= $4 ORDER BY oid, tid DESC LIMIT $5`
const EXIST = `
  SELECT k.number FROM unnest($1::bigint[]) WITH ORDINALITY AS k (oid, number)
  CROSS JOIN LATERAL (
    SELECT head IS NOT NULL AS there FROM zblkfs.revision WHERE oid = k.oid AND tid <= $2 ORDER BY tid DESC LIMIT 1
  ) AS r WHERE r.there`
export const USED_SINCE = 'SELECT pos, pos + len FROM zblkfs.revision WHERE tid > $1 AND pos IS NOT NULL'
const TRANSACTIONS = `
  SELECT tid, objects FROM zblkfs.txn WHERE tid > $1 AND tid < $2 ORDER BY tid LIMIT $3`
const OWN_BYTES = 'coalesce(octet_length(head), 0) + coalesce(octet_length(tail), 0)'
const ADDED = `
  SELECT coalesce(sum(stored), 0), coalesce(sum(objects), 0), (
    SELECT coalesce(sum(replaced.bytes), 0) FROM zblkfs.revision AS r CROSS JOIN LATERAL (
      SELECT ${OWN_BYTES} + len AS bytes FROM zblkfs.revision WHERE oid = r.oid AND tid < r.tid ORDER BY tid DESC LIMIT 1
    ) AS replaced WHERE r.tid > $1 AND r.tid <= $2
  ) FROM zblkfs.txn WHERE tid > $1 AND tid <= $2`
/** Counted by a query: rows of sums would have to be written by every commit. */
const SUMS = `
  SELECT count(*) FILTER (WHERE is_newest),
    count(*), coalesce(sum(own), 0), coalesce(sum(len), 0),
    count(*) FILTER (WHERE NOT is_newest), coalesce(sum(own) FILTER (WHERE NOT is_newest), 0),
    coalesce(sum(len) FILTER (WHERE NOT is_newest), 0)
  FROM (
    SELECT ${OWN_BYTES} AS own, len, row_number() OVER (PARTITION BY oid ORDER BY tid DESC) = 1 AS is_newest
    FROM zblkfs.revision WHERE tid NOT IN (${UNFINISHED})
  ) AS r`
const BULK_END_AT = 'SELECT bulk_end FROM zblkfs.txn WHERE tid <= $1 ORDER BY tid DESC LIMIT 1'
const SPACE = `
  SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = 'zblkfs' AND c.relkind = 'r' AND c.relname <> 'bulk'`

export class PostgresIndexScan implements IndexScan {
  readonly #queries: Queries
  readonly #seal: RowSeal | undefined

  /** @param seal undefined for a database that is not encrypted, and where no row is read. */
  constructor(queries: Queries, seal?: RowSeal) {
    this.#queries = queries
    this.#seal = seal
  }

  async end(): Promise<IndexEnd> {
    const [[lastTid, nextOid, bulkEnd] = []] = await this.#queries.query(END, [], 'end')
    return { lastTid: bigintOf(lastTid), nextOid: numberOf(nextOid), bulkEnd: numberOf(bulkEnd) }
  }

  async note(name: string): Promise<string | undefined> {
    const [[value] = []] = await this.#queries.query(NOTE, [name], 'note')
    return value ?? undefined
  }

  async oids(after: number, limit: number): Promise<readonly number[]> {
    const rows = await this.#queries.query(OIDS, [after, limit], 'oids')
    return rows.map(([oid]) => numberOf(oid))
  }

  async revisionsOf(
    oids: readonly number[],
    upTo: bigint,
    limit: number,
  ): Promise<readonly StoredRevision[]> {
    const rows = await this.#queries.query(REVISIONS_OF, [bigintArray(oids), upTo, limit], 'revisions_of')
    return rows.map(storedRevision)
  }

  async entries(after: EntryKey | undefined, limit: number): Promise<readonly StoredRevision[]> {
    // Both in one round trip.
    const [rest, following] = await Promise.all([
      after === undefined ? [] : this.#queries.query(REST, [after.oid, after.tid, limit], 'rest'),
      this.#queries.query(FOLLOWING, [after?.oid ?? -1, limit], 'following'),
    ])
    return [...rest, ...following].slice(0, limit).map(storedRevision)
  }

  async rows(after: EntryKey, end: number, upTo: bigint, limit: number): Promise<readonly ScannedRow[]> {
    const rows = await this.#queries.query(ROWS, [after.oid, after.tid, end, upTo, limit], 'rows')
    return rows.map(cells => rowOrDamage(() => revisionRow(cells, this.#seal)))
  }

  async exist(oids: readonly number[], at: Tid): Promise<readonly boolean[]> {
    const rows = await this.#queries.query(EXIST, [bigintArray(oids), at], 'exist')
    const there = new Set(rows.map(([number]) => numberOf(number)))
    return oids.map((_, index) => there.has(index + 1))
  }

  async usedSince(tid: bigint): Promise<readonly BulkRange[]> {
    return rangesIn(await this.#queries.query(USED_SINCE, [tid], 'used_since'))
  }

  async packedTransactions(
    after: bigint,
    before: bigint,
    limit: number,
  ): Promise<readonly PackedTransaction[]> {
    const rows = await this.#queries.query(TRANSACTIONS, [after, before, limit], 'packed_transactions')
    return rows.map(([tid, objects]) => ({ tid: bigintOf(tid), isUsed: numberOf(objects) > 0 }))
  }

  async added(after: Tid, upTo: Tid): Promise<Added> {
    const [[stored, objects, replaced] = []] = await this.#queries.query(ADDED, [after, upTo], 'added')
    return {
      storedBytes: numberOf(stored),
      revisions: numberOf(objects),
      replacedBytes: numberOf(replaced),
    }
  }

  async bulkEndAt(upTo: Tid): Promise<number> {
    const [[end = null] = []] = await this.#queries.query(BULK_END_AT, [upTo], 'bulk_end_at')
    return end === null ? 0 : numberOf(end)
  }

  async sums(): Promise<Sums> {
    const [cells = []] = await this.#queries.query(SUMS, [], 'sums')
    const [objects = 0, ...numbers] = cells.map(cell => numberOf(cell))
    return { objects, all: revisionSums(numbers.slice(0, 3)), past: revisionSums(numbers.slice(3)) }
  }

  /** Space that VACUUM has freed within tables cannot be determined without reading them. */
  async space(): Promise<IndexSpace> {
    const [[bytes] = []] = await this.#queries.query(SPACE, [], 'space')
    return { totalBytes: numberOf(bytes), freeBytes: 0 }
  }
}

const revisionSums = ([revisions = 0, rowBytes = 0, bulkBytes = 0]: readonly number[]): RevisionSums => ({
  revisions,
  rowBytes,
  bulkBytes,
})

/** The rows of {@link USED_SINCE}. */
export const rangesIn = (rows: readonly Cells[]): readonly BulkRange[] =>
  rows.map(([lo, hi]): BulkRange => [numberOf(lo), numberOf(hi)])

function storedRevision([oid, tid, gone, own, pos, len]: Cells): StoredRevision {
  return {
    oid: numberOf(oid),
    tid: bigintOf(tid),
    isTombstone: gone === 't',
    ownBytes: numberOf(own),
    ...unitsOf(pos === null ? null : numberOf(pos), numberOf(len)),
  }
}
