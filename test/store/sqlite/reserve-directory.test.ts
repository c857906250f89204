/** The directory beside a database that has no log but a reserve of space, as a killed process leaves it. */
import { copyFile, mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { TID_MAX, TID_NONE, type Oid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { WritableStore } from '../../../store/store.ts'
import { temporaryDirectory } from './temporary-directory.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await temporaryDirectory()
  path = `${directory}/test.db`
  await writing(store => add(store, 10), true)
  await mkdir(`${path}-log`, { mode: 0o700 })
  await writeFile(`${path}-log/reserve`, Buffer.alloc(4096))
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

async function writing<T>(use: (store: WritableStore) => Promise<T>, create = false): Promise<T> {
  const store = await openSqliteStore(path, { create })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

async function add(store: WritableStore, bytes: number): Promise<Oid> {
  const { first } = await store.allocateOids(1)
  const record = { head: Uint8Array.of(1), body: [new Uint8Array(bytes).fill(7)] }
  await store.commit({ changes: [{ oid: first, base: TID_NONE, record }] })
  return first
}

test('is removed when the database is closed, and a copy of the file is whole', async () => {
  await writing(store => add(store, 10))
  expect(await readdir(directory)).toEqual(['test.db'])
  await copyFile(path, `${directory}/copy.db`)
  await (await openSqliteStore(`${directory}/copy.db`)).close()
})

test('may be removed and made again while a reader is open, which finds later data', async () => {
  const reader = await openSqliteStore(path, { readOnly: true })
  try {
    await reader.capabilities.measuring?.space()
    await writing(store => add(store, 10))
    const oid = await writing(store => add(store, 300_000))
    const [revision] = await reader.load([oid], TID_MAX)
    expect(revision?.record.length).toBe(300_001)
  } finally {
    await reader.close()
  }
})
