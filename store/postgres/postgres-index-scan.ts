/** The side of the index for work that goes through all of it (index-scan.ts). */
import type { Added, Space } from '../capabilities.ts'
import type { StoredRevision } from '../stored-revisions.ts'
import type { Tid } from '../ids.ts'
import type { BulkRange } from '../indexed/bulk.ts'
import { UNIT_BYTES } from '../indexed/frame.ts'
import type { EntryKey, IndexEnd, IndexScan, PackedTransaction } from '../indexed/index-scan.ts'
import type { Queries } from './postgres-index.ts'
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
const EXIST = `
  SELECT k.number FROM unnest($1::bigint[]) WITH ORDINALITY AS k (oid, number)
  CROSS JOIN LATERAL (
    SELECT head IS NOT NULL AS there FROM zblkfs.revision WHERE oid = k.oid AND tid <= $2 ORDER BY tid DESC LIMIT 1
  ) AS r WHERE r.there`
export const USED_SINCE = 'SELECT pos, pos + len FROM zblkfs.revision WHERE tid > $1 AND pos IS NOT NULL'
const TRANSACTIONS = `
  SELECT tid, objects FROM zblkfs.txn WHERE tid > $1 AND tid < $2 ORDER BY tid LIMIT $3`
const ADDED = `
  SELECT coalesce(sum(stored), 0), coalesce(sum(objects), 0) FROM zblkfs.txn WHERE tid > $1 AND tid <= $2`
const SPACE = `
  SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = 'zblkfs' AND c.relkind = 'r' AND c.relname <> 'bulk'`

export class PostgresIndexScan implements IndexScan {
  readonly #queries: Queries

  constructor(queries: Queries) {
    this.#queries = queries
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
    const [[stored, objects] = []] = await this.#queries.query(ADDED, [after, upTo], 'added')
    return { storedBytes: numberOf(stored), revisions: numberOf(objects) }
  }

  /** Room that VACUUM has freed inside of tables is not known without reading them. */
  async space(): Promise<Space> {
    const [[bytes] = []] = await this.#queries.query(SPACE, [], 'space')
    return { totalBytes: numberOf(bytes), freeBytes: 0 }
  }
}

/** The rows of {@link USED_SINCE}. */
export const rangesIn = (rows: readonly Cells[]): readonly BulkRange[] =>
  rows.map(([lo, hi]): BulkRange => [numberOf(lo), numberOf(hi)])

function storedRevision([oid, tid, gone, own, pos, len]: Cells): StoredRevision {
  const lo = pos === null ? 0 : numberOf(pos)
  return {
    oid: numberOf(oid),
    tid: bigintOf(tid),
    isTombstone: gone === 't',
    ownBytes: numberOf(own),
    unitLo: Math.floor(lo / UNIT_BYTES),
    unitHi: pos === null ? 0 : Math.ceil((lo + numberOf(len)) / UNIT_BYTES),
  }
}
