/** Checking and repairing a database on a server (store/indexed/check). */
import type { StorageRepair } from '../capabilities.ts'
import type { CheckedDatabase } from '../indexed/check/checking.ts'
import type { CheckedParts } from '../indexed/check/storage-check.ts'
import type { Opener } from '../encryption/seals.ts'
import { TID_MAX } from '../ids.ts'
import { MARK } from '../indexed/pack/mark-memory.ts'
import { PACKED, VOID } from '../indexed/pack/packed-note.ts'
import { UNIT_BYTES } from '../indexed/frame.ts'
import { transactionSum } from '../indexed/row-sums.ts'
import type { RevisionReader } from '../stored-revisions.ts'
import type { PostgresAddress } from './address.ts'
import { runChange } from './change.ts'
import { PostgresCheckedIndex } from './checked-index.ts'
import type { RemoteBulk } from '../s3/remote-bulk.ts'
import { halvesOver } from './open-bulk.ts'
import { SET_NOTE } from './postgres-index-packer.ts'
import { PostgresIndexScan } from './postgres-index-scan.ts'
import { ReadSessions } from './read-sessions.ts'
import { TRANSACTION_COLUMNS, transactionRow } from './rows.ts'
import { Session } from './session.ts'
import { bigintArray } from './values.ts'
import { WriterSession } from './writer-session.ts'

const PAGE_ROWS = 1024

const DELETE = `
  DELETE FROM zblkfs.revision AS r USING unnest($1::bigint[], $2::bigint[]) AS k (oid, tid)
  WHERE r.oid = k.oid AND r.tid = k.tid`
const ENTER_AGAIN = `
  INSERT INTO zblkfs.txn (tid, objects, bytes, next_oid, bulk_end, stored, epoch, commit_id, sum, author, description, extension)
  SELECT tid, 0, 0, 1, 0, 0, $1, gen_random_uuid(), 0, '', convert_to('entered again by zblkfs fsck', 'UTF8'), ''
  FROM (SELECT DISTINCT tid FROM zblkfs.revision) AS r
  WHERE NOT EXISTS (SELECT FROM zblkfs.txn AS t WHERE t.tid = r.tid)`
const RECOUNT = `
  UPDATE zblkfs.txn AS t SET objects = found.objects, bytes = found.bytes FROM (
    SELECT t.tid, count(r.tid) AS objects,
      coalesce(sum(coalesce(octet_length(r.head), 0) + r.len + coalesce(octet_length(r.tail), 0)), 0)::bigint AS bytes
    FROM zblkfs.txn AS t LEFT JOIN zblkfs.revision AS r ON r.tid = t.tid GROUP BY t.tid
  ) AS found
  WHERE found.tid = t.tid AND (found.objects, found.bytes) <> (t.objects, t.bytes)`
const CORRECT_ENDS = `
  UPDATE zblkfs.txn SET
    next_oid = greatest(next_oid, (SELECT coalesce(max(oid) + 1, 1) FROM zblkfs.revision)),
    bulk_end = greatest(bulk_end,
      (SELECT coalesce(max(pos + len) + ${UNIT_BYTES - 1}, 0) / ${UNIT_BYTES} * ${UNIT_BYTES} FROM zblkfs.revision))
  WHERE tid = (SELECT max(tid) FROM zblkfs.txn)`
const TRANSACTIONS = `
  SELECT ${TRANSACTION_COLUMNS} FROM zblkfs.txn WHERE tid > $1 ORDER BY tid LIMIT ${PAGE_ROWS}`
const SET_SUM = 'UPDATE zblkfs.txn SET sum = $2 WHERE tid = $1'

export interface PostgresCheckedParts {
  readonly name: string
  readonly address: PostgresAddress
  /** The database's id. */
  readonly id: string
  readonly remote: RemoteBulk | undefined
  /** Undefined for a database that is not encrypted. */
  readonly opener: Opener | undefined
  readonly openReader: () => RevisionReader
  readonly explain: (error: unknown) => unknown
}

export class PostgresChecked implements CheckedDatabase {
  readonly #parts: PostgresCheckedParts

  constructor(parts: PostgresCheckedParts) {
    this.#parts = parts
  }

  open(): CheckedParts & { readonly close: () => void } {
    const sessions = this.#sessions()
    return {
      index: new PostgresCheckedIndex(sessions, this.#parts.opener?.rows),
      bulk: halvesOver(sessions, this.#parts.remote, this.#parts.opener).bulk,
      close: () => sessions.close(),
    }
  }

  reader(): RevisionReader {
    return this.#parts.openReader()
  }

  async note(name: string): Promise<string | undefined> {
    const sessions = this.#sessions()
    try {
      return await new PostgresIndexScan(sessions).note(name)
    } finally {
      sessions.close()
    }
  }

  async setNotes(names: readonly string[], value: string): Promise<void> {
    const session = await Session.open(this.#parts.address)
    try {
      for (const name of names) await session.query(SET_NOTE, [name, value], 'set_note')
    } finally {
      session.close()
    }
  }

  async beginRepair(purpose: string): Promise<StorageRepair> {
    const { address, name, id } = this.#parts
    const session = await Session.open(address)
    try {
      const report = (): void => undefined
      const writer = await WriterSession.take(
        { address, name, purpose, id, isShared: false, report },
        session,
      )
      return {
        mend: async index => {
          if (index) await this.#mend(writer)
        },
        end: () => writer.close(),
      }
    } catch (error) {
      session.close()
      throw error
    }
  }

  explain(error: unknown): unknown {
    return this.#parts.explain(error)
  }

  #sessions(): ReadSessions {
    return new ReadSessions(this.#parts.address, undefined, () => undefined)
  }

  async #mend(writer: WriterSession): Promise<void> {
    const session = await writer.ready()
    // The server may have an index that disagrees with its table.
    await session.run('REINDEX TABLE zblkfs.revision')
    await session.run('REINDEX TABLE zblkfs.txn')
    await session.run('REINDEX TABLE zblkfs.extent')
    await this.#dropDamaged(writer)
    await runChange(writer, ENTER_AGAIN, [writer.epoch], 'enter_again')
    await runChange(writer, RECOUNT, [], 'recount')
    await runChange(writer, CORRECT_ENDS, [], 'correct_ends')
    await this.#sumAgain(writer)
    // The notes of the last pack do not hold for the repaired rows.
    for (const name of [PACKED, MARK]) await runChange(writer, SET_NOTE, [name, VOID], 'set_note')
  }

  async #dropDamaged(writer: WriterSession): Promise<void> {
    const sessions = this.#sessions()
    try {
      const index = new PostgresCheckedIndex(sessions, this.#parts.opener?.rows)
      for (let after = { oid: -1, tid: 0n }; ;) {
        const page = await index.checkedRevisions(after, TID_MAX, PAGE_ROWS)
        const last = page.at(-1)
        if (last === undefined) return
        const damaged = page.filter(({ isIntact }) => !isIntact)
        const keys = [bigintArray(damaged.map(({ oid }) => oid)), bigintArray(damaged.map(({ tid }) => tid))]
        if (damaged.length > 0) await runChange(writer, DELETE, keys, 'delete_damaged')
        after = { oid: last.oid, tid: last.tid }
      }
    } finally {
      sessions.close()
    }
  }

  async #sumAgain(writer: WriterSession): Promise<void> {
    for (let after = -1n; ;) {
      const cells = await (await writer.ready()).query(TRANSACTIONS, [after])
      if (cells.length === 0) return
      for (const { row, isIntact } of cells.map(transactionRow)) {
        if (!isIntact) await runChange(writer, SET_SUM, [row.tid, transactionSum(row) | 0], 'set_sum')
        after = row.tid
      }
    }
  }
}
