/** A database is what it is, not what it is called: other names, moves, removals, copies, media that cannot be written. */
import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { chmod, cp, link, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { DatabaseGoneError, LockedError } from '../../../store/errors.ts'
import { TID_NONE, type Tid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { WritableSqliteStore } from '../../../store/sqlite/sqlite-store.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const CHILD = new URL('opening-child.ts', import.meta.url).pathname
const IS_ROOT = process.getuid?.() === 0
const NOBODY = 65_534
const BULK_BYTES = 300_000

let directory: string
let path: string
let children: ChildProcessWithoutNullStreams[]
beforeEach(async () => {
  directory = await temporaryDirectory()
  path = `${directory}/test.db`
  children = []
})
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  await rm(directory, { recursive: true, force: true })
})

/** Opens a database in another process; resolves to what it says. */
async function openElsewhere(...parameters: string[]): Promise<string> {
  const child = spawn(process.execPath, [CHILD, ...parameters])
  children.push(child)
  const [data] = (await once(child.stdout, 'data')) as [Buffer]
  return data.toString().trim()
}

async function commit(store: WritableSqliteStore, bytes = BULK_BYTES): Promise<Tid> {
  const { first } = await store.allocateOids(1)
  const record = { head: Uint8Array.of(1), body: [new Uint8Array(bytes).fill(7)] }
  return await store.commit({ changes: [{ oid: first, base: TID_NONE, record }] })
}

async function makeDatabase(): Promise<Tid> {
  const store = await openSqliteStore(path, { create: true })
  const tid = await commit(store)
  await store.close()
  return tid
}

describe('a second writer is refused', () => {
  test('through a hard link, with an error that names the first', async () => {
    await makeDatabase()
    expect(await openElsewhere(path)).toMatch(/^opened/)
    await mkdir(`${directory}/other`)
    const other = `${directory}/other/x.db`
    await link(path, other)
    await cp(`${path}-log`, `${other}-log`, { recursive: true })
    const error: unknown = await openSqliteStore(other).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(LockedError)
    const holder = `process ${children[0]?.pid} (a child), as ${path}`
    expect(String(error)).toContain(`${other} is in use by ${holder}`)
    await expect(openSqliteStore(other, { readOnly: true })).rejects.toThrow(
      `${other} is in use by ${holder}: read it under that name`,
    )
    expect(await readdir(`${directory}/other`)).toEqual(['x.db', 'x.db-log'])
  })

  test('under the new name of the database', async () => {
    await makeDatabase()
    const store = await openSqliteStore(path)
    await rename(path, `${directory}/new.db`)
    await rename(`${path}-log`, `${directory}/new.db-log`)
    expect(await openElsewhere(`${directory}/new.db`)).toMatch(
      /new\.db is in use by process \d+, as .*new\.db/,
    )
    await store.close()
    expect(await openElsewhere(`${directory}/new.db`)).toMatch(/^opened/)
  })

  test.runIf(IS_ROOT)('through a bind mount of the file', async () => {
    await makeDatabase()
    await mkdir(`${directory}/bound`)
    const bound = `${directory}/bound/x.db`
    await writeFile(bound, '')
    const store = await openSqliteStore(path)
    execFileSync('mount', ['--bind', path, bound])
    try {
      expect(await openElsewhere(bound)).toMatch(/is in use by process/)
    } finally {
      execFileSync('umount', [bound])
      await store.close()
    }
  })

  test('also while the same process opens and closes readers', async () => {
    await makeDatabase()
    const store = await openSqliteStore(path)
    await (await openSqliteStore(path, { readOnly: true })).close()
    await expect(openSqliteStore(path)).rejects.toThrow(LockedError)
    await link(path, `${directory}/x.db`)
    expect(await openElsewhere(`${directory}/x.db`)).toMatch(/is in use by process/)
    // SQLite's own lock too: another program must not remove the WAL that is in use.
    await commit(store)
    execFileSync('python3', [
      '-c',
      'import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute("select count(*) from txn").fetchall(); c.close()',
      path,
    ])
    expect(await readdir(directory)).toContain('test.db-wal')
    await store.close()
  })
})

describe('a database whose directory is moved', () => {
  test('is written in its new place, and no file is created in the old one', async () => {
    const home = `${directory}/home`
    await mkdir(home)
    path = `${home}/test.db`
    const store = await openSqliteStore(path, { create: true })
    await commit(store, 100)
    await rename(home, `${directory}/moved`)
    const tid = await commit(store)
    const moved = `${directory}/moved/test.db`
    expect(store.name).toBe(moved)
    await store.close()
    expect(await readdir(directory)).toEqual(['moved'])
    const reader = await openSqliteStore(moved, { readOnly: true })
    expect(await reader.lastTid()).toBe(tid)
    await reader.close()
  })
})

describe('a database that was removed while open rejects changes:', () => {
  const removals: Record<string, () => Promise<void>> = {
    'the file': async () => await rm(path),
    'its WAL': async () => await rm(`${path}-wal`),
    'its log': async () => await rm(`${path}-log`, { recursive: true }),
    'the segment that is written to': async () => await rm(`${path}-log/00000000`),
    'its directory': async () => await rm(directory, { recursive: true }),
  }
  for (const [what, remove] of Object.entries(removals)) {
    test(what, async () => {
      const store = await openSqliteStore(path, { create: true })
      await commit(store)
      await remove()
      await expect(commit(store)).rejects.toThrow(DatabaseGoneError)
      await store.close()
    })
  }

  test('intents are rejected, too', async () => {
    const store = await openSqliteStore(path, { create: true })
    await commit(store)
    await store.capabilities.intents?.read()
    expect(await store.capabilities.intents?.add(Uint8Array.of(1))).toBe(true)
    await rm(path)
    expect(await store.capabilities.intents?.add(Uint8Array.of(2))).toBe(false)
    await store.close()
  })
})

describe('a copy without its WAL', () => {
  for (const readOnly of [false, true]) {
    test(`is refused ${readOnly ? 'for reading' : 'for writing'}: the file alone, copied in use`, async () => {
      const store = await openSqliteStore(path, { create: true })
      await commit(store, 100)
      const copy = `${directory}/copy.db`
      await cp(path, copy)
      const opening = readOnly ? openSqliteStore(copy, { readOnly }) : openSqliteStore(copy)
      await expect(opening).rejects.toThrow(/copy\.db is incomplete: it was copied while in use/)
      expect(await readdir(directory)).not.toContain('copy.db-wal')
      await store.close()
      // After the unmount the file is all there is.
      await cp(path, copy)
      await (await openSqliteStore(copy, { readOnly: true })).close()
    })
  }
})

test('a database that was renamed without its WAL before its writer died is refused, and so is a new one in its place', async () => {
  const state = await openElsewhere(path, 'commit')
  expect(state).toMatch(/^opened, last transaction [1-9]/)
  const other = `${directory}/new.db`
  await rename(path, other)
  await expect(openSqliteStore(other, { readOnly: true })).rejects.toMatchObject({ code: 'in-use-elsewhere' })
  children[0]?.kill('SIGKILL')
  await once(children[0] as ChildProcessWithoutNullStreams, 'exit')
  const renamed = { code: 'database-renamed' }
  await expect(openSqliteStore(other, { readOnly: true })).rejects.toMatchObject(renamed)
  await expect(openSqliteStore(other)).rejects.toMatchObject(renamed)
  await expect(openSqliteStore(other, { create: true })).rejects.toMatchObject(renamed)
  await expect(openSqliteStore(path, { create: true })).rejects.toThrow(/test\.db-wal has transactions of/)
  await rename(other, path)
  const store = await openSqliteStore(path)
  expect(`opened, last transaction ${await store.lastTid()}`).toBe(state)
  await store.close()
})

describe.runIf(IS_ROOT)('a database that was closed cleanly can be read', () => {
  test('on a read-only medium, and reports the unavailable operations', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', directory])
    try {
      const tid = await makeDatabase()
      execFileSync('mount', ['-o', 'remount,ro', directory])
      const reader = await openSqliteStore(path, { readOnly: true })
      expect(await reader.lastTid()).toBe(tid)
      const [revision] = await reader.load([1 as never], tid)
      expect(revision?.record?.length).toBe(BULK_BYTES + 1)
      await reader.close()
      await expect(openSqliteStore(path)).rejects.toMatchObject({ code: 'read-only-medium' })
    } finally {
      execFileSync('umount', ['-l', directory])
    }
  })

  test('in a directory without write permission, and excludes writers meanwhile', async () => {
    const tid = await makeDatabase()
    await chmod(directory, 0o755)
    await chmod(`${path}-log`, 0o755)
    await chmod(`${path}-log/00000000`, 0o644)
    await chmod(path, 0o644)
    expect(await openElsewhere(path, 'read', 'as', String(NOBODY))).toBe(`opened, last transaction ${tid}`)
    expect((await readdir(directory)).sort()).toEqual(['test.db', 'test.db-log'])
    await expect(openSqliteStore(path)).rejects.toThrow(LockedError)
    children[0]?.stdin.end()
    await once(children[0] as ChildProcessWithoutNullStreams, 'exit')
    await (await openSqliteStore(path)).close()
  })
})
