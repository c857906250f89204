/** A scratch database for what a long piece of work must remember: a bounded part is in memory, the rest on disk. */
import Database from 'better-sqlite3'

/** @param schema `CREATE TABLE` statements. The file goes with the process, or when it is closed. */
export function openScratch(schema: string): Database.Database {
  const db = new Database('')
  db.pragma('journal_mode = OFF')
  // One transaction to the end: else each row would be one of its own, at ten times the cost.
  db.exec(`BEGIN; ${schema}`)
  return db
}
