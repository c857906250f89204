import { rm } from 'node:fs/promises'
import Database from 'better-sqlite3'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSchema } from '../../../store/sqlite/schema.ts'
import { SqliteIndexWriter } from '../../../store/sqlite/writer/sqlite-index-writer.ts'
import { temporaryDirectory } from './temporary-directory.ts'

let directory: string
beforeEach(async () => {
  directory = await temporaryDirectory()
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

test('commits are synced after a part that failed to begin', () => {
  const path = `${directory}/test.db`
  const db = new Database(path, { timeout: 0 })
  const other = new Database(path, { timeout: 0 })
  try {
    db.pragma('journal_mode = WAL')
    createSchema(db)
    db.pragma('synchronous = FULL')
    const writer = new SqliteIndexWriter(db)
    other.exec('BEGIN IMMEDIATE')
    expect(() => writer.begin(true)).toThrow('locked')
    other.exec('ROLLBACK')
    expect(db.pragma('synchronous', { simple: true })).toBe(2)
  } finally {
    other.close()
    db.close()
  }
})
