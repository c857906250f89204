/** Bytes that changed on the disk are detected and never returned. */
import { cp, open, readFile, rename, rm, stat } from 'node:fs/promises'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CannotOpenError, CorruptRecordError, StoreError } from '../../../store/errors.ts'
import { oid as toOid, TID_MAX, TID_NONE, type Oid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { repairLog } from '../../../store/sqlite/check/repair-log.ts'
import type { StorageDamage } from '../../../store/capabilities.ts'
import { StorageCheck } from '../../../store/sqlite/check/storage-check.ts'
import { copyDatabase } from '../../tools/database-files.ts'
import { temporaryDirectory } from './temporary-directory.ts'

let directory: string
let path: string
const records = new Map<Oid, Uint8Array>()

beforeAll(async () => {
  directory = await temporaryDirectory()
  path = `${directory}/test.db`
  const store = await openSqliteStore(path, { create: true })
  for (let index = 0; index < 40; index++) {
    const head = Buffer.from(`head of object ${index}, which is the same for ever`)
    const body = new Uint8Array(index % 2 === 0 ? 4096 : 70_000).map(
      (_, at) => (at * 31 + index) >>> (at & 7),
    )
    const inline = index % 5 === 0
    const oid = (await store.allocateOids(1)).first
    records.set(oid, inline ? head : Buffer.concat([head, body]))
    const record = inline ? { head } : { head, body: [body] }
    await store.commit({ changes: [{ oid, base: TID_NONE, record }] })
  }
  await store.close()
})
afterAll(async () => await rm(directory, { recursive: true, force: true }))

test.each(['', '-log/00000000'])(
  'a changed byte anywhere in test.db%s is an error or has no effect',
  { timeout: 300_000 },
  async part => {
    const damaged = `${directory}/damaged.db`
    await copyDatabase(path, damaged)
    const { size } = await stat(path + part)
    const file = await open(damaged + part, 'r+')
    const oids = [...records.keys()]
    let found = 0
    const step = Math.max(1, Math.floor(size / 400))
    for (let at = 13; at < size; at += step) {
      const byte = Buffer.alloc(1)
      await file.read(byte, 0, 1, at)
      await file.write(Buffer.of(byte.readUInt8() ^ 0x40), 0, 1, at)
      try {
        const store = await openSqliteStore(damaged, { readOnly: true })
        try {
          for (const oid of oids) found += (await readsRight(store, oid)) ? 0 : 1
        } finally {
          await store.close()
        }
      } catch (error) {
        expect(error, `opening with byte ${at} changed`).toBeInstanceOf(CannotOpenError)
        found++
      }
      await file.write(byte, 0, 1, at)
    }
    await file.close()
    expect(found).toBeGreaterThan(100)
  },
)

test('a missing or foreign log file is reported with a remedy, and other data stays readable', async () => {
  const gone = `${directory}/gone.db`
  await copyDatabase(path, gone)
  const reader = await openSqliteStore(gone, { readOnly: true })
  await rename(`${gone}-log`, `${gone}-elsewhere`)
  const inLog = [...records].filter(([, record]) => record.length > 70_000)
  for (const [oid] of inLog)
    await expect(reader.load([oid], TID_MAX)).rejects.toThrow(
      /log file .*gone\.db-log\/00000000 is missing: put .*gone\.db-log back next to the database/,
    )
  for (const [oid, record] of records)
    if (record.length < 5000) expect(await readsRight(reader, oid)).toBe(true)
  await rename(`${gone}-elsewhere`, `${gone}-log`)
  for (const [oid] of inLog) expect(await readsRight(reader, oid)).toBe(true)
  await reader.close()
})

test('a new database does not adopt the log of another one', async () => {
  const left = `${directory}/left.db`
  await copyDatabase(path, left)
  await rename(left, `${left}-moved`)
  await expect(openSqliteStore(left, { create: true })).rejects.toThrow(
    /left\.db cannot be created: .*left\.db-log belongs to a database that is missing; put that back/,
  )
  await rename(`${left}-moved`, left)
  const reader = await openSqliteStore(left)
  for (const [oid] of records) expect(await readsRight(reader, oid)).toBe(true)
  await reader.close()
})

test('a database with an empty log does not modify the log of another one', async () => {
  const small = `${directory}/small.db`
  const store = await openSqliteStore(small, { create: true })
  const record = { head: Buffer.from('short') }
  await store.commit({ changes: [{ oid: (await store.allocateOids(1)).first, base: TID_NONE, record }] })
  await store.close()
  await cp(`${path}-log`, `${small}-log`, { recursive: true })
  const { size } = await stat(`${small}-log/00000000`)
  for (const readOnly of [true, false] as const)
    await expect(openSqliteStore(small, { readOnly } as { readOnly: true })).rejects.toThrow(
      /small\.db-log belongs to another database: put that database back next to it/,
    )
  expect((await stat(`${small}-log/00000000`)).size).toBe(size)
})

test('a header of arbitrary bytes is damaged: records are read, and a repair rewrites it', async () => {
  const erased = `${directory}/erased.db`
  await copyDatabase(path, erased)
  const file = await open(`${erased}-log/00000000`, 'r+')
  await file.write(Buffer.alloc(4096, 0xff), 0, 4096, 0)
  await file.close()
  const readAll = async (): Promise<void> => {
    const reader = await openSqliteStore(erased)
    for (const [oid] of records) expect(await readsRight(reader, oid)).toBe(true)
    await reader.close()
  }
  await readAll()
  repairLog(erased)
  await readAll()
  expect((await readFile(`${erased}-log/00000000`)).subarray(0, 10).toString()).toBe('zblkfs log')
})

test('a repair without the log changes nothing, not even a damaged id, so that the restored log still matches', async () => {
  const lost = `${directory}/lost.db`
  await copyDatabase(path, lost)
  const db = new Database(lost)
  db.exec("UPDATE meta SET value = 'damaged' WHERE name = 'database id'")
  db.close()
  await rename(`${lost}-log`, `${lost}-elsewhere`)
  expect(() => repairLog(lost)).toThrow(/lost\.db-log is missing, and nothing was repaired/)
  await rename(`${lost}-elsewhere`, `${lost}-log`)
  repairLog(lost)
  const reader = await openSqliteStore(lost)
  for (const [oid] of records) expect(await readsRight(reader, oid)).toBe(true)
  await reader.close()
})

test('the check without data names every record of a missing log file', async () => {
  const gone = `${directory}/gone-all.db`
  await copyDatabase(path, gone)
  await rm(`${gone}-log/00000000`)
  const named = async (data: boolean): Promise<number> => {
    const [db, now] = [new Database(gone, { readonly: true }), new Database(gone, { readonly: true })]
    const check = new StorageCheck(db, now, { upTo: TID_MAX, progress: () => undefined })
    const found: StorageDamage[] = []
    for await (const damage of check.run(data)) if (damage.kind === 'data') found.push(damage)
    check.close()
    db.close()
    now.close()
    return new Set(found.map(({ oid }) => oid)).size
  }
  const inLog = [...records.values()].filter(({ length }) => length > 70_000).length
  expect(await named(true)).toBe(inLog)
  expect(await named(false)).toBe(inLog)
})

/** False where the damage is reported; fails where it is served. */
async function readsRight(
  store: Awaited<ReturnType<typeof openSqliteStore>> | Reading,
  oid: Oid,
): Promise<boolean> {
  const expected = records.get(oid) ?? new Uint8Array(0)
  try {
    const [revision] = await store.load([oid], TID_MAX)
    const part = await store.loadPart(oid, TID_MAX, 10, 500)
    // A key that is damaged cannot be found; that is no wrong byte, and fsck compares the keys with the transactions.
    if (revision === undefined) return false
    expect(Buffer.compare(revision.record, expected), `object ${oid} whole`).toBe(0)
    expect(
      Buffer.compare(part?.bytes ?? Buffer.of(), expected.subarray(10, 510)),
      `object ${oid} in part`,
    ).toBe(0)
    return true
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    return false
  }
}

type Reading = Pick<Awaited<ReturnType<typeof openSqliteStore>>, 'load' | 'loadPart'>

test('the error names the object and its transaction, and the other objects are read', async () => {
  const damaged = `${directory}/one.db`
  const needle = Buffer.from('head of object 5,')
  const bytes = await readFile(path)
  await copyDatabase(path, damaged)
  const file = await open(damaged, 'r+')
  // The row may stand in what a page had before it was split, too.
  for (let at = bytes.indexOf(needle); at >= 0; at = bytes.indexOf(needle, at + 1))
    await file.write(Buffer.from('HEAD'), 0, 4, at)
  await file.close()
  const store = await openSqliteStore(damaged, { readOnly: true })
  const oid = toOid(6)
  const [tid] = await store.revisions(oid)
  const error: unknown = await store.load([oid], TID_MAX).catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(CorruptRecordError)
  expect(error).toMatchObject({ oid, tid })
  expect((await store.load([toOid(5), toOid(7)], TID_MAX)).every(revision => revision !== undefined)).toBe(
    true,
  )
  await store.close()
})

test('wrong sums are detected, and a repair corrects them', async () => {
  const damaged = `${directory}/sums.db`
  await copyDatabase(path, damaged)
  const db = new Database(damaged)
  db.exec('UPDATE dropped SET past_row_bytes = past_row_bytes + 1')
  db.close()
  const store = await openSqliteStore(damaged, { readOnly: true })
  const { checking, measuring } = store.capabilities
  if (checking === undefined || measuring === undefined) throw new TypeError('no checking')
  const look = async (): Promise<readonly string[]> => {
    const reasons: string[] = []
    for await (const { reason } of checking.storage({ upTo: TID_MAX, everyByte: false, progress: () => {} }))
      reasons.push(reason)
    return reasons
  }
  try {
    expect(await look()).toEqual([expect.stringContaining('its sums are wrong')])
    const repair = await checking.beginRepair('a test')
    await repair.mend(true)
    await repair.end()
    expect(await look()).toEqual([])
  } finally {
    await store.close()
  }
})
