import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { CannotOpenError } from '../../store/errors.ts'
import { recognise } from '../../store/recognise.ts'
import { APPLICATION_ID } from '../../store/sqlite/schema.ts'
import { historyFree, PreservingDatabase } from './relstorage/database.ts'

let directory = ''
let path = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'zblkfs-recognise-'))
  path = join(directory, 'a file')
})
afterEach(() => rmSync(directory, { recursive: true }))

test.each([
  ['nothing', () => {}, 'none'],
  ['an empty file', () => writeFileSync(path, ''), 'none'],
  ["Python 3's FileStorage", () => writeFileSync(path, 'FS30'), 'filestorage'],
  ["Python 2's FileStorage", () => writeFileSync(path, 'FS21 and more'), 'filestorage'],
  ['a history-preserving RelStorage', () => void new PreservingDatabase(path).db.close(), 'relstorage'],
  ['a history-free RelStorage', () => void historyFree(path, []).close(), 'relstorage'],
  [
    'a database of our own',
    () =>
      void new Database(path).exec(`PRAGMA application_id = ${APPLICATION_ID}; CREATE TABLE t (a)`).close(),
    'sqlite',
  ],
])('%s is recognised by its content', async (_, make, kind) => {
  make()
  expect(await recognise(path)).toBe(kind)
})

test('a zblkfs database is recognised while it is locked, and when only its WAL has the mark', async () => {
  const db = new Database(path)
  db.pragma('journal_mode = WAL')
  db.exec(`PRAGMA application_id = ${APPLICATION_ID}; CREATE TABLE t (a)`)
  expect(await recognise(path)).toBe('sqlite')
  db.pragma('wal_checkpoint(TRUNCATE)')
  db.pragma('locking_mode = EXCLUSIVE')
  db.exec('INSERT INTO t VALUES (1)')
  expect(await recognise(path)).toBe('sqlite')
  db.close()
})

test.each([
  ['a text', () => writeFileSync(path, 'hello, world'), 'is not a zblkfs database'],
  ['one byte', () => writeFileSync(path, 'F'), 'is not a zblkfs database'],
  [
    "another program's database",
    () => void new Database(path).exec('CREATE TABLE t (a)').close(),
    'of another program',
  ],
  ['a damaged database', () => writeFileSync(path, `SQLite format 3\0${'x'.repeat(5000)}`), 'cannot be read'],
  ['a directory', () => (path = directory), 'is a directory'],
  ['a FIFO', () => void execFileSync('mkfifo', [path]), 'is not a regular file'],
  [
    'a file beneath a file',
    () => {
      writeFileSync(path, 'x')
      path = join(path, 'y')
    },
    'ENOTDIR',
  ],
])('%s is refused by name', async (_, make, message) => {
  make()
  const error = await recognise(path).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(CannotOpenError)
  expect(String(error)).toContain(message)
})
