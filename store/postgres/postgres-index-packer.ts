/** The changes of a pack (index-scan.ts): each is a transaction of the server, and durable. */
import type { BulkRange } from '../indexed/bulk.ts'
import type { IndexPacker } from '../indexed/index-scan.ts'
import { runChange } from './change.ts'
import { rangesIn, USED_SINCE } from './postgres-index-scan.ts'
import type { Session } from './session.ts'
import { bigintArray, numberOf } from './values.ts'
import type { WriterSession } from './writer-session.ts'

const DROP = `
  WITH gone AS (
    DELETE FROM zblkfs.revision AS r USING unnest($1::bigint[], $2::bigint[]) AS k (oid, tid)
    WHERE r.oid = k.oid AND r.tid = k.tid
    RETURNING r.tid, coalesce(octet_length(r.head), 0) + r.len + coalesce(octet_length(r.tail), 0) AS bytes
  ), sums AS (
    SELECT tid, count(*) AS objects, sum(bytes)::bigint AS bytes FROM gone GROUP BY tid
  ), discounted AS (
    UPDATE zblkfs.txn AS t SET objects = t.objects - sums.objects, bytes = t.bytes - sums.bytes
    FROM sums WHERE t.tid = sums.tid
  )
  SELECT count(*) FROM gone`
const FORGET = 'DELETE FROM zblkfs.txn WHERE tid = ANY($1::bigint[])'
export const SET_NOTE = `
  INSERT INTO zblkfs.meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`
const BULK_END = 'SELECT bulk_end FROM zblkfs.txn ORDER BY tid DESC LIMIT 1'
// Makes the deleted rows' space available to new rows at once, instead of at the next autovacuum.
const VACUUM = 'VACUUM zblkfs.revision, zblkfs.txn, zblkfs.bulk, zblkfs.meta'

export class PostgresIndexPacker implements IndexPacker {
  readonly #writer: WriterSession
  readonly #open: () => Promise<Session>

  /** @param open opens a session for long statements. */
  constructor(writer: WriterSession, open: () => Promise<Session>) {
    this.#writer = writer
    this.#open = open
  }

  async drop(oids: Float64Array, tids: BigInt64Array): Promise<number> {
    const keys = [bigintArray([...oids]), bigintArray([...tids])]
    const [[rows] = []] = await runChange(this.#writer, DROP, keys, 'drop')
    return numberOf(rows)
  }

  async forget(tids: BigInt64Array): Promise<void> {
    await runChange(this.#writer, FORGET, [bigintArray([...tids])], 'forget')
  }

  /** No-op: each change is durable. */
  makeDurable(): void {}

  async usedSince(tid: bigint): Promise<readonly BulkRange[]> {
    return rangesIn(await (await this.#writer.ready()).query(USED_SINCE, [tid], 'used_since'))
  }

  async bulkEnd(): Promise<number> {
    const [[end] = []] = await (await this.#writer.ready()).query(BULK_END, [], 'bulk_end')
    return end === undefined ? 0 : numberOf(end)
  }

  /** No-op: the server does not return the free space of its tables. */
  releasePages(): void {}

  async finish(): Promise<void> {
    const session = await this.#open()
    try {
      await session.run(VACUUM)
    } finally {
      session.close()
    }
  }

  async setNote(name: string, value: string): Promise<void> {
    await runChange(this.#writer, SET_NOTE, [name, value], 'set_note')
  }
}
