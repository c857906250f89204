/** Encrypted databases in a program: its own source of the key, and branches, which have the keys of their database. */
import { copyFile, rm } from 'node:fs/promises'
import Sqlite from 'better-sqlite3'
import { expect, test } from 'vitest'
import { makeBranch } from '../../../core/database/branches.ts'
import { mergeBranch } from '../../../core/database/merge.ts'
import { open, receive, type Secret } from '../../../index.ts'
import { branchPath } from '../../../store/branches.ts'
import type { Encrypting } from '../../../store/encryption.ts'
import { openDatabase } from '../../../store/open-store.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

const secret = (text: string): Secret => ({ kind: 'file', bytes: Buffer.alloc(32, text) })
const keyOf = (text: string) => async (): Promise<Secret> => secret(text)

async function make(key = keyOf('first')): Promise<string> {
  const path = temporaryDatabase()
  await using db = await open(path, { create: true, encryption: 'aes-256-gcm', key })
  await db.files.writeFile('/a', 'of the database')
  await db.sync()
  await makeBranch(db, 'b')
  return path
}

/** Runs `use` with what keeps the keys of a database or branch. */
async function withKeys<T>(
  path: string,
  key: () => Promise<Secret>,
  use: (keys: Encrypting) => Promise<T>,
): Promise<T> {
  const store = await openDatabase(path, { key })
  try {
    return await use(store.capabilities.encrypting!)
  } finally {
    await store.close()
  }
}

const slotsOf = (path: string): string => {
  const db = new Sqlite(path)
  const note = db.prepare<[], string>("SELECT value FROM meta WHERE name = 'encryption'").pluck().get()
  db.close()
  return JSON.stringify((JSON.parse(note ?? '{}') as { slots: unknown }).slots)
}

test('the source of a program is asked once, and serves branches, merges, streams and backups', async () => {
  let asked = 0
  const key = (): Promise<Secret> => {
    asked++
    return Promise.resolve(secret('first'))
  }
  const path = await make(key)
  expect(asked).toBe(1)
  {
    await using db = await open(path, { key })
    {
      await using branch = await open(branchPath(path, 'b'), { key })
      await branch.files.writeFile('/b', 'of the branch')
    }
    asked = 0
    {
      const plan = await mergeBranch(db, 'b')
      expect(plan.conflicts.length).toBe(0)
    }
    expect(await db.files.readFile('/b', 'utf8')).toBe('of the branch')
    expect((await db.sizeToSend()).transactions).toBeGreaterThan(0)
    expect((await db.backup(`${path}.backup`)).transactions).toBeGreaterThan(0)
    await receive(`${path}.received`, db.send(), { key })
    // By receive, for the stream and for the database.
    expect(asked).toBeLessThanOrEqual(2)
  }
  await using received = await open(`${path}.received`, { key })
  expect(await received.files.readFile('/b', 'utf8')).toBe('of the branch')
})

test('a key that a program has given opens nothing for a caller without it', async () => {
  const path = await make()
  await using _ = await open(path, { key: keyOf('first') })
  await expect(open(path, { readOnly: true })).rejects.toMatchObject({ code: 'key-needed' })
  await expect(open(path, { readOnly: true, key: keyOf('other') })).rejects.toMatchObject({
    code: 'wrong-key',
  })
  await expect(open(branchPath(path, 'b'))).rejects.toMatchObject({ code: 'key-needed' })
})

test('a changed key of a database opens its branches, and the old one does not', async () => {
  const path = await make()
  const branch = branchPath(path, 'b')
  expect(slotsOf(branch)).toBe('[]')
  await withKeys(path, keyOf('first'), keys => keys.changeSlot('key file', secret('second')))
  await expect(open(branch, { key: keyOf('first') })).rejects.toMatchObject({ code: 'wrong-key' })
  for (const readOnly of [true, false]) {
    await using db = await open(branch, { readOnly, key: keyOf('second') })
    expect(await db.files.readFile('/a', 'utf8')).toBe('of the database')
  }
  await withKeys(branch, keyOf('second'), async keys => {
    expect(await keys.slots()).toEqual([{ name: 'key file', kdf: 'hkdf-sha256' }])
    await expect(keys.addSlot('x', secret('x'))).rejects.toThrow('is a branch and has the keys of')
    await expect(keys.changeSlot('key file', secret('x'))).rejects.toThrow('change them there')
    await expect(keys.removeSlot('key file')).rejects.toThrow('change them there')
  })
})

test('a branch of a branch is opened with the keys of the database, too', async () => {
  const path = await make()
  const branch = branchPath(path, 'b')
  {
    await using db = await open(branch, { key: keyOf('first') })
    await db.files.writeFile('/b', 'of the branch')
    await makeBranch(db, 'c')
  }
  await withKeys(path, keyOf('first'), keys => keys.changeSlot('key file', secret('second')))
  const inner = branchPath(branch, 'c')
  expect(slotsOf(inner)).toBe('[]')
  await expect(open(inner, { key: keyOf('first') })).rejects.toMatchObject({ code: 'wrong-key' })
  let asked = 0
  const key = (): Promise<Secret> => {
    asked++
    return Promise.resolve(secret('second'))
  }
  for (const readOnly of [true, false]) {
    await using db = await open(inner, { readOnly, key })
    expect(await db.files.readFile('/a', 'utf8')).toBe('of the database')
    expect(await db.files.readFile('/b', 'utf8')).toBe('of the branch')
  }
  expect(asked).toBe(2)
})

test('a branch that is moved away from its database, or beside another one, is refused', async () => {
  const [path, other] = [await make(), await make()]
  const beside = branchPath(other, 'b')
  await copyFile(branchPath(path, 'b'), beside)
  const key = keyOf('first')
  await expect(open(beside, { readOnly: true, key })).rejects.toThrow('is a branch of another database')
  await rm(other)
  await expect(open(beside, { readOnly: true, key })).rejects.toThrow(
    'its database, which has its keys, is missing',
  )
})

test('the slots that a branch of an earlier version has are removed', async () => {
  const path = await make()
  const branch = branchPath(path, 'b')
  const db = new Sqlite(branch)
  const note = "SELECT value FROM meta WHERE name = 'encryption'"
  db.exec(`ATTACH '${path}' AS parent`)
  db.exec(`UPDATE meta SET value = (${note.replace('meta', 'parent.meta')}) WHERE name = 'encryption'`)
  db.close()
  expect(slotsOf(branch)).toContain('hkdf-sha256')
  await withKeys(path, keyOf('first'), keys => keys.changeSlot('key file', secret('second')))
  await expect(open(branch, { key: keyOf('first') })).rejects.toMatchObject({ code: 'wrong-key' })
  await (await open(branch, { key: keyOf('second') })).close()
  expect(slotsOf(branch)).toBe('[]')
})
