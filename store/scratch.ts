/** A scratch database for the state of long-running work: a bounded part is in memory, the rest on disk. */
import Database from 'better-sqlite3'

/** @param schema `CREATE TABLE` statements. The file is removed when it is closed or the process ends. */
export function openScratch(schema: string): Database.Database {
  const db = new Database('')
  db.pragma('journal_mode = OFF')
  // A single transaction: otherwise each row would be its own, at ten times the cost.
  db.exec(`BEGIN; ${schema}`)
  return db
}
