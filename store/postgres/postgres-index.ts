/** The reading side of the index (record-index.ts) in the tables of schema.ts. Every call is one round trip, or one for many rows. */
import { oid as toOid, tid as toTid, TID_NONE, type Oid, type Tid } from '../ids.ts'
import type { RowSeal } from '../encryption/row-seal.ts'
import type { Index, RevisionKey, RevisionRow } from '../indexed/record-index.ts'
import type { TransactionInfo } from '../store.ts'
import { revisionColumns, revisionRow, TRANSACTION_COLUMNS, transactionInfo, transactionRow } from './rows.ts'
import { UNFINISHED } from './schema.ts'
import type { Cells, Value } from './session.ts'
import { bigintArray, bigintOf, numberOf } from './values.ts'

/** Receives statements: a session, or several that share the load. */
export interface Queries {
  query(text: string, values?: readonly Value[], name?: string): Promise<readonly Cells[]>
}

/** Maximum objects that one statement looks up. */
const LOOK_UP_OBJECTS = 4096

// Forces one index search per key: the planner has no statistics of the keys to choose a better plan.
const NEWEST = `
  SELECT k.number, ${revisionColumns('r')} FROM unnest($1::bigint[]) WITH ORDINALITY AS k (oid, number)
  CROSS JOIN LATERAL (
    SELECT * FROM zblkfs.revision WHERE oid = k.oid AND tid <= $2 ORDER BY tid DESC LIMIT 1
  ) AS r`
const NEWEST_OF_ONE = `
  SELECT 1, ${revisionColumns('r')} FROM zblkfs.revision AS r
  WHERE oid = $1 AND tid <= $2 ORDER BY tid DESC LIMIT 1`
const FIND = `
  SELECT k.number, ${revisionColumns('r')} FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS k (oid, tid, number)
  CROSS JOIN LATERAL (SELECT * FROM zblkfs.revision WHERE oid = k.oid AND tid = k.tid LIMIT 1) AS r`
const REVISIONS = `
  SELECT tid FROM zblkfs.revision WHERE oid = $1 AND tid > $2 AND tid <= $3 AND tid <> ALL (${UNFINISHED}) ORDER BY tid DESC`
const LAST = 'SELECT max(tid) FROM zblkfs.txn'
const CHANGES = `
  SELECT tid, oid FROM zblkfs.revision WHERE (tid, oid) > ($1, $2) AND tid <= $3 AND tid <> ALL (${UNFINISHED})
  ORDER BY tid, oid LIMIT $4`
const TRANSACTIONS = `SELECT ${TRANSACTION_COLUMNS} FROM zblkfs.txn WHERE tid > $1 AND tid <= $2`

export class PostgresIndex implements Index {
  readonly #queries: Queries
  readonly #seal: RowSeal | undefined

  /** @param seal undefined for a database that is not encrypted. */
  constructor(queries: Queries, seal?: RowSeal) {
    this.#queries = queries
    this.#seal = seal
  }

  async newest(oids: readonly Oid[], at: Tid): Promise<readonly (RevisionRow | undefined)[]> {
    const [first] = oids
    if (oids.length === 1 && first !== undefined)
      return this.#placed(1, await this.#queries.query(NEWEST_OF_ONE, [first, at], 'newest_of_one'))
    return await this.#inParts(oids, part => this.#queries.query(NEWEST, [bigintArray(part), at], 'newest'))
  }

  async find(keys: readonly RevisionKey[]): Promise<readonly (RevisionRow | undefined)[]> {
    return await this.#inParts(keys, part => {
      const oids = bigintArray(part.map(({ oid }) => oid))
      const tids = bigintArray(part.map(({ tid }) => tid))
      return this.#queries.query(FIND, [oids, tids], 'find')
    })
  }

  async revisions(oid: Oid, after: Tid, upTo: Tid): Promise<readonly Tid[]> {
    const rows = await this.#queries.query(REVISIONS, [oid, after, upTo], 'revisions')
    return rows.map(([tid]) => toTid(bigintOf(tid)))
  }

  async lastTid(): Promise<Tid> {
    const [[tid] = []] = await this.#queries.query(LAST, [], 'last')
    return tid === null ? TID_NONE : toTid(bigintOf(tid))
  }

  async transactions(
    after: Tid,
    upTo: Tid,
    reverse: boolean,
    limit: number,
  ): Promise<readonly TransactionInfo[]> {
    const rows = await this.#queries.query(
      `${TRANSACTIONS} ORDER BY tid ${reverse ? 'DESC' : 'ASC'} LIMIT $3`,
      [after, upTo, limit],
      reverse ? 'newest_transactions' : 'oldest_transactions',
    )
    const found = rows.map(transactionRow)
    const damaged = found.findIndex(({ isIntact }) => !isIntact)
    return (damaged > 0 ? found.slice(0, damaged) : found).map(one => transactionInfo(one, this.#seal))
  }

  async changes(after: RevisionKey, upTo: Tid, limit: number): Promise<readonly RevisionKey[]> {
    const rows = await this.#queries.query(CHANGES, [after.tid, after.oid, upTo, limit], 'changes')
    return rows.map(([tid, oid]) => ({ tid: toTid(bigintOf(tid)), oid: toOid(numberOf(oid)) }))
  }

  async #inParts<Key>(
    keys: readonly Key[],
    look: (part: readonly Key[]) => Promise<readonly Cells[]>,
  ): Promise<readonly (RevisionRow | undefined)[]> {
    if (keys.length <= LOOK_UP_OBJECTS)
      return keys.length === 0 ? [] : this.#placed(keys.length, await look(keys))
    const found: (RevisionRow | undefined)[] = []
    for (let start = 0; start < keys.length; start += LOOK_UP_OBJECTS) {
      const part = keys.slice(start, start + LOOK_UP_OBJECTS)
      for (const row of this.#placed(part.length, await look(part))) found.push(row)
    }
    return found
  }

  /** Rows in the order of their keys: the first cell is the number of a key, from 1. */
  #placed(count: number, rows: readonly Cells[]): readonly (RevisionRow | undefined)[] {
    const found: (RevisionRow | undefined)[] = Array.from({ length: count }, () => undefined)
    for (const [number, ...cells] of rows) found[numberOf(number) - 1] = revisionRow(cells, this.#seal)
    return found
  }
}
