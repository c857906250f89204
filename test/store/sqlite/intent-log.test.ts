/** What is added to the intent log is found by the next process, as long as no transaction came after it. */
import { open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import Database from 'better-sqlite3'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import type { Damage } from '../../../core/check/damage.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { xxh64 } from '../../../store/checksum.ts'
import { TID_NONE, tid } from '../../../store/ids.ts'
import { readDatabaseId } from '../../../store/sqlite/open/database-id.ts'
import { INTENTS_BYTES, readIntents } from '../../../store/sqlite/intents/intent-file.ts'
import { intentsPath, lastTidOf } from '../../../store/sqlite/log.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { FoundIntents } from '../../../store/capabilities.ts'
import type { NewTransaction } from '../../../store/store.ts'
import type { WritableSqliteStore } from '../../../store/sqlite/sqlite-store.ts'
import { Random } from '../../stress/random.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const SEED = Number(process.env['CRASH_SEED'] ?? Random.seed())
const PAGE = 4096

let directory: string
let path: string
beforeEach(async () => {
  directory = await temporaryDirectory()
  path = `${directory}/test.db`
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

const openStore = async (at = path): Promise<WritableSqliteStore> =>
  await openSqliteStore(at, { create: true })

const transaction = async (store: WritableSqliteStore): Promise<NewTransaction> => ({
  changes: [
    { oid: (await store.allocateOids(1)).first, base: TID_NONE, record: { head: Buffer.from('record') } },
  ],
})

const add = (store: WritableSqliteStore, text: string | Buffer): Promise<boolean> | undefined =>
  store.capabilities.intents?.add(Buffer.from(text))

/** What a process that opens the database finds; it is closed again. */
async function found(at = path): Promise<FoundIntents | undefined> {
  const store = await openStore(at)
  try {
    return await store.capabilities.intents?.read()
  } finally {
    await store.close()
  }
}

const texts = (found: FoundIntents | undefined): string[] | undefined =>
  found?.entries.map(entry => Buffer.from(entry).toString())

/** A database with entries behind its last transaction. */
async function withEntries(...entries: readonly (string | Buffer)[]): Promise<void> {
  const store = await openStore()
  await store.commit(await transaction(store))
  for (const entry of entries) expect(await add(store, entry)).toBe(true)
  await store.close()
}

/** Writes over bytes of the log's file. */
async function overwrite(at: number, bytes: Uint8Array): Promise<void> {
  const file = await open(intentsPath(path), 'r+')
  await file.write(bytes, 0, bytes.length, at)
  await file.close()
}

describe('entries', () => {
  test('of any length are found in order', async () => {
    const long = Buffer.alloc(100_000, 'long ')
    await withEntries('', 'one', long, 'three')
    expect(texts(await found())).toEqual(['', 'one', long.toString(), 'three'])
  })

  test('are void after the next transaction, and later ones start a new sequence', async () => {
    const store = await openStore()
    await store.commit(await transaction(store))
    for (const entry of ['one', 'two', 'three']) await add(store, entry)
    await store.commit(await transaction(store))
    expect(await store.capabilities.intents?.read()).toEqual({ entries: [], isDamaged: false })
    await add(store, 'later')
    await store.close()
    const after = await found()
    expect(texts(after)).toEqual(['later'])
    expect(after?.isDamaged).toBe(false)
  })

  test('of another process after the same transaction are not mistaken for newer ones', async () => {
    await withEntries('one', 'two', 'three')
    const store = await openStore()
    await store.capabilities.intents?.read()
    await add(store, 'new')
    await store.close()
    expect(texts(await found())).toEqual(['new'])
  })

  test('of another database are ignored', async () => {
    await withEntries('one')
    const other = `${directory}/other.db`
    const store = await openStore(other)
    await store.commit({ ...(await transaction(store)), tid: await lastTid(path) })
    await add(store, 'of the other')
    await store.close()
    await writeFile(intentsPath(other), await readFile(intentsPath(path)))
    expect(await found(other)).toEqual({ entries: [], isDamaged: false })
  })

  test('that are unread block transactions, which would overwrite them', async () => {
    await withEntries('one', 'two')
    const store = await openStore()
    await expect(store.commit(await transaction(store))).rejects.toThrow(
      /2 synced changes that are not in a transaction yet.*mount it/,
    )
    await store.capabilities.intents?.read()
    await store.commit(await transaction(store))
    await store.close()
    expect(texts(await found())).toEqual([])
  })

  test('are refused when the log is full, and accepted again after a transaction', async () => {
    const store = await openStore()
    await store.commit(await transaction(store))
    let count = 0
    while ((await add(store, Buffer.alloc(100_000))) === true) count++
    expect(count).toBe(Math.floor(INTENTS_BYTES / (Math.ceil(100_064 / PAGE) * PAGE)))
    await store.commit(await transaction(store))
    expect(await add(store, 'one')).toBe(true)
    expect((await stat(intentsPath(path))).size).toBe(INTENTS_BYTES)
    await store.close()
  })
})

describe('entries that follow the transaction being committed', () => {
  test('reuse the space of voided entries repeatedly', async () => {
    const store = await openStore()
    await store.commit(await transaction(store))
    const { intents } = store.capabilities
    const long = (text: string): Buffer => Buffer.alloc(0.107 * INTENTS_BYTES, text)
    for (let round = 0; round < 12; round++) {
      for (let i = 0; i < 3; i++) expect(await intents?.add(long(`a${round}${i}`))).toBe(true)
      const tid = await intents?.reserve()
      const next = { ...(await transaction(store)), ...(tid !== undefined && { tid }) }
      expect(await intents?.add(long(`b${round}`), tid)).toBe(true)
      expect(intents?.needsTransaction).toBe(round > 0)
      expect(texts(await intents?.read())?.at(-1)).toBe(long(`b${round}`).toString())
      await store.commit(next)
      const following = texts(await intents?.read())
      expect(following).toEqual([long(`b${round}`).toString()])
    }
    await store.close()
    expect(texts(await found())).toEqual([long('b11').toString()])
  })

  test('do not overwrite valid entries', async () => {
    const store = await openStore()
    await store.commit(await transaction(store))
    const { intents } = store.capabilities
    const long = Buffer.alloc(0.36 * INTENTS_BYTES, 'a')
    expect(await intents?.add(long)).toBe(true)
    const tid = await intents?.reserve()
    expect(await intents?.add(long, tid)).toBe(true)
    expect(await intents?.add(long, tid)).toBe(false)
    // After a missing entry none may follow, however short.
    expect(await intents?.add(Buffer.from('b'), tid)).toBe(false)
    await store.commit({ ...(await transaction(store)), ...(tid !== undefined && { tid }) })
    expect(await intents?.add(Buffer.from('b'))).toBe(false)
    await store.commit(await transaction(store))
    expect(await intents?.add(Buffer.from('b'))).toBe(true)
    await store.close()
    expect(texts(await found())).toEqual(['b'])
  })

  test('are not replayed if an earlier one is damaged', async () => {
    await withEntries('one', 'two')
    const store = await openStore()
    await store.capabilities.intents?.read()
    await store.commit(await transaction(store))
    await add(store, 'before')
    const uncommitted = await store.capabilities.intents?.reserve()
    await store.capabilities.intents?.add(Buffer.from('after'), uncommitted)
    await store.close()
    expect(texts(await found())).toEqual(['before', 'after'])
    await overwrite(50, Buffer.from([0xff]))
    expect(await found()).toEqual({ entries: [], isDamaged: true, uncommitted })
  })
})

const lastTid = async (at: string): Promise<NonNullable<NewTransaction['tid']>> => {
  const store = await openSqliteStore(at, { readOnly: true })
  try {
    return await store.lastTid()
  } finally {
    await store.close()
  }
}

test('entries of format 2 are refused until a transaction has voided them', async () => {
  await withEntries('one')
  const db = new Database(path, { readonly: true })
  const [id, last] = [readDatabaseId(db) ?? '', lastTidOf(db)]
  db.close()
  const entry = Buffer.alloc(60, 'entry')
  entry.writeBigUInt64LE(last, 8)
  entry.writeUInt32LE(entry.length - 48, 28)
  entry.write(id, 32, 'hex')
  entry.writeBigUInt64LE(xxh64(entry.subarray(8)))
  await writeFile(intentsPath(path), Buffer.concat([entry, Buffer.alloc(INTENTS_BYTES - entry.length)]))
  await expect(found()).rejects.toThrow(/older version of zblkfs: mount the database once with that version/)
  expect(readIntents(path, id, tid(last + 1n))).toEqual({ entries: [], isDamaged: false })
})

test('a reader warns of entries that are not replayed, unless a writer is active', async () => {
  const warningsOf = async (): Promise<readonly string[]> => {
    const warnings: string[] = []
    const reader = await openSqliteStore(path, { readOnly: true, warn: text => void warnings.push(text) })
    await reader.close()
    return warnings
  }
  await withEntries('one', 'two')
  expect(await warningsOf()).toEqual([
    expect.stringMatching(/test\.db has 2 synced changes that are not in a transaction yet.*mount it/),
  ])
  const store = await openStore()
  expect(await warningsOf()).toEqual([])
  await store.capabilities.intents?.read()
  await store.commit(await transaction(store))
  await store.close()
  expect(await warningsOf()).toEqual([])
})

describe('of a damaged log', () => {
  test('entries before the damage are found, and lost later ones are reported', async () => {
    await withEntries('one', 'two', 'three', 'four')
    await overwrite(2 * PAGE + 50, Buffer.from([0]))
    expect(texts(await found())).toEqual(['one', 'two'])
    expect((await found())?.isDamaged).toBe(true)
  })

  test('a damaged last entry counts as incomplete', async () => {
    await withEntries('one', 'two')
    await overwrite(PAGE + 50, Buffer.from([0]))
    expect(texts(await found())).toEqual(['one'])
    expect((await found())?.isDamaged).toBe(false)
  })

  test('a damaged first entry does not hide later ones', async () => {
    await withEntries('one', 'two')
    await overwrite(8, Buffer.alloc(8))
    expect(await found()).toEqual({ entries: [], isDamaged: true })
  })

  test('fsck reports the loss, and repairs nothing while recoverable writes wait', async () => {
    const fs = await FileSystem.open(await openStore())
    await fs.close()
    await withEntries('one', 'two', 'three')
    await overwrite(PAGE + 50, Buffer.from([0]))
    const damages: Damage[] = []
    const report = (damage: Damage): void => void damages.push(damage)
    const options = { data: true, report, progress: () => undefined }
    await checkDatabase(path, { ...options, repair: false })
    expect(damages.map(({ reason }) => reason)).toContainEqual(
      expect.stringMatching(/synced changes after its first 1 entries/),
    )
    await expect(checkDatabase(path, { ...options, repair: true })).rejects.toThrow(
      /nothing was repaired: .* has a synced change that is not in a transaction yet/,
    )
    expect(texts(await found())).toEqual(['one'])
  })

  test('a truncated file is restored to its full length', async () => {
    await withEntries('one', 'two')
    await truncate(intentsPath(path), PAGE + 20)
    expect(texts(await found())).toEqual(['one'])
    const store = await openStore()
    await store.capabilities.intents?.read()
    await store.commit(await transaction(store))
    expect(await add(store, 'new')).toBe(true)
    await store.close()
    expect(texts(await found())).toEqual(['new'])
    expect((await stat(intentsPath(path))).size).toBe(INTENTS_BYTES)
  })
})

test(`after a power failure in the middle of a write the entries before it are there, and it is whole or absent (CRASH_SEED=${SEED})`, async () => {
  const random = new Random(SEED)
  await withEntries('stale', Buffer.alloc(30_000, 's'), 'stale too')
  const store = await openStore()
  await store.capabilities.intents?.read()
  await store.commit(await transaction(store))
  const entries: string[] = []
  const states = [await readFile(intentsPath(path))]
  for (let count = 0; count < 12; count++) {
    const entry = String(count).repeat(1 + random.below(20_000))
    entries.push(entry)
    await add(store, entry)
    states.push(await readFile(intentsPath(path)))
  }
  await store.close()
  const db = new Database(path, { readonly: true })
  const [id, last] = [readDatabaseId(db) ?? '', lastTidOf(db)]
  db.close()
  for (let count = 0; count < entries.length; count++) {
    const [before, after] = [states[count] ?? Buffer.of(), states[count + 1] ?? Buffer.of()]
    for (let tries = 0; tries < 20; tries++) {
      const torn = Buffer.from(before)
      for (let at = 0; at < torn.length; at += 512)
        if (random.below(2) === 0) after.copy(torn, at, at, at + 512)
      await writeFile(intentsPath(path), torn)
      const left = texts(readIntents(path, id, last)) ?? []
      expect(left).toEqual(entries.slice(0, left.length))
      expect(left.length).toBeGreaterThanOrEqual(count)
    }
  }
})
