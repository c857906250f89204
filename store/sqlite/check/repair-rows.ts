/**
 * Rebuilds the tables after damage that no transaction could repair: removes damaged rows, inserts the others again, and
 * corrects the counts of transactions. The caller holds the writer's lock and has nothing else open.
 */
import Database from 'better-sqlite3'
import { sqliteName } from '../../sqlite-name.ts'
import { UNIT_BYTES } from '../../indexed/frame.ts'
import { MARK } from '../../indexed/pack/mark-memory.ts'
import { PACKED, VOID } from '../../indexed/pack/packed-note.ts'
import { NO_TOTALS } from '../totals.ts'
import { SqliteParts } from '../parts.ts'
import { cellsOf, selectNamedTransactions, sumOfNamed, TOTALS, totalsOfRow } from '../rows.ts'
import { repairSums } from './recount.ts'
import { isGoodRow, type RevisionCells } from './storage-check.ts'

/** @throws SqliteError if the tables cannot be read to their end. Only parts of an unfinished transaction are gone then. */
export function repairRows(path: string): void {
  const db = new Database(sqliteName(path), { fileMustExist: true })
  try {
    db.function(
      'is_good',
      { safeIntegers: true, deterministic: true, varargs: true },
      (...cells: unknown[]) => (isGoodRow(cells as unknown as RevisionCells) ? 1 : 0),
    )
    new SqliteParts(db).drop()
    db.transaction(() => {
      db.exec(`
        CREATE TEMP TABLE good AS
          SELECT * FROM revision NOT INDEXED WHERE is_good(oid, tid, sum, head, pos, len, tail) ORDER BY id;
        DELETE FROM revision;
        INSERT OR IGNORE INTO revision SELECT * FROM good;
        DROP TABLE temp.good;
      `)
      repairTransactions(db)
      repairSums(db)
      // The notes of the last pack do not hold for the repaired rows.
      for (const name of [PACKED, MARK])
        db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)').run(name, VOID)
    })()
    db.exec('VACUUM')
  } finally {
    db.close()
  }
}

function repairTransactions(db: Database.Database): void {
  db.exec(`
    INSERT OR IGNORE INTO txn (tid, user, description, extension, objects, bytes, next_oid, log_end, stored, ${TOTALS.join(', ')}, sum)
      SELECT DISTINCT tid, '', 'entered again by zblkfs fsck', x'', 0, 0, 1, 0, 0, ${TOTALS.map(() => '0').join(', ')}, 0
      FROM revision;
    UPDATE txn SET objects = 0, bytes = 0;
    UPDATE txn SET objects = kept.objects, bytes = kept.bytes FROM (
      SELECT tid, count(*) AS objects,
        sum(coalesce(length(head), 0) + len + coalesce(length(tail), 0)) AS bytes
      FROM revision GROUP BY tid
    ) AS kept WHERE txn.tid = kept.tid;
    UPDATE txn SET
      next_oid = max(next_oid, (SELECT coalesce(max(oid) + 1, 1) FROM revision)),
      log_end = (SELECT coalesce(max(pos + len) + ${UNIT_BYTES - 1}, 0) FROM revision) / ${UNIT_BYTES} * ${UNIT_BYTES}
      WHERE tid = (SELECT max(tid) FROM txn);
  `)
  const update = db.prepare(
    `UPDATE txn SET ${TOTALS.map(column => `${column} = ?`).join(', ')}, sum = ? WHERE tid = ?`,
  )
  let totals = NO_TOTALS
  const rows = selectNamedTransactions<[bigint]>(db, 'WHERE tid > ? ORDER BY tid LIMIT 1000')
  for (let last = -1n; ;) {
    const batch = rows.all(last)
    for (const row of batch) {
      // A transaction that was entered again has no totals: those before it are the nearest.
      const own = totalsOfRow(row)
      if (own.all.revisions > totals.all.revisions) totals = own
      const cells = cellsOf(totals)
      update.run(...cells, sumOfNamed(row, cells), row.tid)
    }
    const end = batch.at(-1)
    if (end === undefined) return
    last = end.tid
  }
}

/** Records past states that are lost for good, so that later checks do not report them. */
export function noteLosses(path: string, names: Iterable<string>): void {
  const db = new Database(sqliteName(path), { fileMustExist: true })
  try {
    const note = db.prepare("INSERT OR REPLACE INTO meta (name, value) VALUES (?, 'accepted by a repair')")
    db.transaction(() => {
      for (const name of names) note.run(name)
    })()
  } finally {
    db.close()
  }
}
