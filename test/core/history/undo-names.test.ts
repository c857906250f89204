/** Undo where names have changed since: what it takes back, what conflicts, and that a full check finds nothing afterwards. */
import { expect, onTestFinished, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { Connection } from '../../../core/objects/connection.ts'
import { Directory } from '../../../core/tree/directory.ts'
import { Inode } from '../../../core/tree/inode.ts'
import { Superblock } from '../../../core/tree/superblock.ts'
import { open, type Database } from '../../../index.ts'
import { formatTid, oid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

async function fresh(): Promise<Database> {
  const db = await open(temporaryDatabase(), { create: true, commitInterval: 1e9 })
  onTestFinished(() => db.close().catch(() => undefined))
  return db
}

/** Makes changes as one transaction. */
async function step(db: Database, ...changes: readonly (() => Promise<unknown>)[]): Promise<string> {
  for (const change of changes) await change()
  return await db.sync()
}

async function check({ name }: Database): Promise<void> {
  const found: unknown[] = []
  const report = (damage: unknown): void => void found.push(damage)
  await checkDatabase(name, { data: false, repair: false, report, progress: () => {} })
  expect(found).toEqual([])
}

async function clashes(db: Database, tid: string): Promise<void> {
  await expect(db.undo(tid)).rejects.toMatchObject({ code: 'undo-clash' })
  await check(db)
}

test('a removed file returns, and inodes made since are still counted', async () => {
  const db = await fresh()
  const { files } = db
  await step(db, () => files.writeFile('/0', 'x'))
  const removed = await step(db, () => files.rm('/0'))
  await step(db, () => files.mkdir('/1'))
  await db.undo(removed)
  expect(await files.readdir('/')).toEqual(['0', '1'])
  await check(db)
})

test('a directory disappears, after something else was removed', async () => {
  const db = await fresh()
  const { files } = db
  await step(db, () => files.writeFile('/f', 'x'))
  const made = await step(db, () => files.mkdir('/d'))
  await step(db, () => files.rm('/f'))
  await db.undo(made)
  expect(await files.readdir('/')).toEqual([])
  await check(db)
  await db.undo(await db.sync())
  expect(await files.readdir('/')).toEqual(['d'])
  expect(await files.stat('/')).toMatchObject({ nlink: 3 })
  await check(db)
})

test('a directory and its content disappear, return and disappear', async () => {
  const db = await fresh()
  const { files } = db
  const made = await step(
    db,
    () => files.mkdir('/d/e', { recursive: true }),
    () => files.writeFile('/d/e/f', Buffer.alloc(10_000, 1)),
    () => files.link('/d/e/f', '/d/g'),
  )
  await step(db, () => files.writeFile('/other', 'x'))
  let last = made
  for (let count = 0; count < 3; count++) {
    last = await db.undo(last)
    expect(await files.exists('/d'), `${count}`).toBe(count % 2 === 1)
    await check(db)
  }
  await db.undo(last)
  expect(await files.readFile('/d/g')).toEqual(Buffer.alloc(10_000, 1))
  expect(await files.stat('/d/g')).toMatchObject({ nlink: 2 })
  expect(await files.stat('/d')).toMatchObject({ nlink: 3 })
  await check(db)
})

test('nothing returns into a removed directory', async () => {
  const db = await fresh()
  const { files } = db
  await step(
    db,
    () => files.mkdir('/d'),
    () => files.writeFile('/d/f', 'x'),
  )
  const removed = await step(db, () => files.rm('/d/f'))
  await step(db, () => files.rmdir('/d'))
  await clashes(db, removed)
})

test('a moved directory does not get into itself, nor a second name', async () => {
  const db = await fresh()
  const { files } = db
  await step(db, () => files.mkdir('/x/a', { recursive: true }))
  const moved = await step(db, () => files.rename('/x/a', '/a'))
  await step(db, () => files.rename('/x', '/a/x'))
  await clashes(db, moved)
  const renamed = await step(db, () => files.rename('/a', '/b'))
  await step(db, () => files.rename('/b', '/c'))
  await clashes(db, renamed)
  expect(await files.readdir('/')).toEqual(['c'])
})

test('a link is taken back after another name was removed', async () => {
  const db = await fresh()
  const { files } = db
  await step(db, () => files.writeFile('/a', 'x'))
  const linked = await step(db, () => files.link('/a', '/b'))
  await step(db, () => files.link('/a', '/c'))
  await step(db, () => files.unlink('/a'))
  await db.undo(linked)
  expect(await files.readdir('/')).toEqual(['c'])
  expect(await files.stat('/c')).toMatchObject({ nlink: 1 })
  await check(db)
})

test('the last name of an older file is not taken back', async () => {
  const db = await fresh()
  const { files } = db
  await step(db, () => files.writeFile('/a', 'x'))
  const linked = await step(db, () => files.link('/a', '/b'))
  await step(db, () => files.unlink('/a'))
  await clashes(db, linked)
  expect(await files.readFile('/b', 'utf8')).toBe('x')
})

test('a file that disappears while it is open is counted until it is closed', async () => {
  const db = await fresh()
  const { files } = db
  const made = await step(db, () => files.writeFile('/f', Buffer.alloc(5000, 1)))
  await step(db, () => files.writeFile('/g', 'x'))
  const file = await files.open('/f', 'r+')
  await db.undo(made)
  await check(db)
  await file.write(Buffer.alloc(20_000, 2), 0, undefined, 0)
  await db.sync()
  await check(db)
  await file.close()
  await db.sync()
  await check(db)
})

test('a removed file that is still open gets its name back, with what was written meanwhile', async () => {
  const db = await fresh()
  const { files } = db
  await step(db, () => files.writeFile('/f', Buffer.alloc(5000, 1)))
  const file = await files.open('/f', 'r+')
  const removed = await step(db, () => files.unlink('/f'))
  await step(db, () => file.write(Buffer.alloc(9000, 2), 0, undefined, 0))
  await db.undo(removed)
  expect(await files.readFile('/f')).toEqual(Buffer.alloc(9000, 2))
  await check(db)
  await file.close()
  await db.sync()
  await check(db)
})

test('a removed file that was closed later returns as well', async () => {
  const db = await fresh()
  const { files } = db
  await step(db, () => files.writeFile('/f', Buffer.alloc(5000, 1)))
  const file = await files.open('/f', 'r')
  const removed = await step(db, () => files.unlink('/f'))
  const closed = await step(
    db,
    () => file.close(),
    () => files.writeFile('/g', 'x'),
  )
  await db.undo(closed)
  await check(db)
  await db.undo(removed)
  expect(await files.readFile('/f')).toEqual(Buffer.alloc(5000, 1))
  await check(db)
})

test('the stored bytes of a file in which both sides changed blocks are counted', async () => {
  const db = await fresh()
  const { files } = db
  const write = async (at: number, byte: number): Promise<void> => {
    const file = await files.open('/f', 'r+')
    await file.write(Buffer.alloc(8192, byte), 0, undefined, at)
    await file.close()
  }
  await step(
    db,
    () => files.writeFile('/f', Buffer.alloc(10_000, 1)),
    () => files.truncate('/f', 8 << 20),
  )
  const written = await step(db, () => write(2 << 20, 2))
  await step(db, () => write(100, 3))
  await db.undo(written)
  const content = await files.readFile('/f')
  expect([content[100], content[2 << 20]]).toEqual([3, 0])
  await check(db)
})

test('a directory of many entries', async () => {
  const db = await fresh()
  const { files } = db
  const names = Array.from({ length: 200 }, (_, i) => `/d/${i}`)
  await step(db, () => files.mkdir('/d'))
  const made = await step(db, ...names.map(name => () => files.writeFile(name, name)))
  const removed = await step(db, ...names.slice(0, 150).map(name => () => files.rm(name)))
  await step(db, () => files.mkdir('/e'))
  await clashes(db, made)
  await db.undo(removed)
  expect(await files.readdir('/d')).toHaveLength(200)
  await check(db)
  await db.undo(made)
  expect(await files.readdir('/d')).toEqual([])
  await check(db)
})

test('a file that was removed on a full disk, and so kept its link count, returns', async () => {
  const db = await fresh()
  const { files, name } = db
  await step(
    db,
    () => files.mkdir('/d'),
    () => files.writeFile('/d/f', 'x'),
  )
  const { ino } = await files.stat('/d')
  await db.close()
  const store = await openSqliteStore(name)
  const connection = await Connection.open(store, { cacheSizeBytes: 1 << 20 })
  const directory = Inode.at(connection, oid(ino))
  await directory.activate()
  await Directory.of(connection, directory).delete('f')
  await directory.activate()
  directory.setTime('mtime', 1n)
  const superblock = await Superblock.open(connection)
  const { bytes, inodes } = await superblock.usage()
  await superblock.setUsage({ bytes: bytes - 4096, inodes: inodes - 1 })
  await connection.prepare()
  const removed = formatTid(await connection.commit())
  await store.close()
  const again = await open(name)
  onTestFinished(() => again.close())
  await again.undo(removed)
  expect(await again.files.stat('/d/f')).toMatchObject({ nlink: 1 })
  await check(again)
})
