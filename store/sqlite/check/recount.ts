/** Computes the sums of totals.ts by reading all revisions. */
import { droppedCells } from '../rows.ts'
import type { Database } from 'better-sqlite3'
import type { RevisionSums, Sums } from '../../capabilities.ts'
import { TID_MAX } from '../../ids.ts'
import { minus } from '../totals.ts'
import { FINISHED } from '../parts.ts'
import { SqliteIndexScan } from '../sqlite-index-scan.ts'

const SUMS = 'count(*), total(ifnull(length(head), 0) + ifnull(length(tail), 0)), total(len)'

/** @throws SqliteError if the tables cannot be read to their end. */
export function recount(db: Database): Sums {
  const count = (rows: string): RevisionSums => {
    const [revisions = 0, rowBytes = 0, bulkBytes = 0] =
      db.prepare<[], readonly number[]>(`SELECT ${SUMS} FROM revision ${rows}`).raw().get() ?? []
    return { revisions, rowBytes, bulkBytes }
  }
  const all = count(`NOT INDEXED WHERE ${FINISHED}`)
  const current = count(
    `AS one NOT INDEXED WHERE ${FINISHED} AND NOT EXISTS (
       SELECT 1 FROM revision AS other WHERE other.oid = one.oid AND other.tid > one.tid AND other.${FINISHED}
     )`,
  )
  return { objects: current.revisions, all, past: minus(all, current) }
}

/** Corrects the stored sums. */
export function repairSums(db: Database): void {
  const kept = recount(db)
  const totals = new SqliteIndexScan(db).totals(TID_MAX)
  const all = minus(totals.all, kept.all)
  const past = minus(totals.past, kept.past)
  const objects = totals.objects - kept.objects
  db.prepare('INSERT OR REPLACE INTO dropped VALUES (1, ?, ?, ?, ?, ?, ?, ?)').run(
    ...droppedCells({ objects, all, past }),
  )
}
