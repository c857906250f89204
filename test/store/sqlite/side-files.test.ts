/** What lies beside a database may have been put there by someone else: links, FIFOs, foreign files, other users' files. */
import { execFileSync } from 'node:child_process'
import { chmod, chown, link, mkdir, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TID_NONE } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { pinnedMoments } from '../../../store/sqlite/open/reader-pin.ts'
import { temporaryDirectory } from './temporary-directory.ts'

const IS_ROOT = process.getuid?.() === 0
const NOBODY = 65_534
const HANG_MS = 10_000
const TEXT = 'a file of importance\n'.repeat(1000)

let directory: string
let path: string
let victim: string
beforeEach(async () => {
  directory = await temporaryDirectory()
  path = `${directory}/test.db`
  victim = `${directory}/victim`
  await writeFile(victim, TEXT)
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

/** Opens the database, stores bulk bytes and an intent, and closes it; resolves to what was refused. */
async function use(): Promise<string> {
  const work = async (): Promise<string> => {
    try {
      const store = await openSqliteStore(path, { create: true })
      try {
        await store.capabilities.intents?.read()
        const isAdded = await store.capabilities.intents?.add(Uint8Array.of(1))
        const { first } = await store.allocateOids(1)
        const record = { head: Uint8Array.of(1), body: [new Uint8Array(300_000)] }
        await store.commit({ changes: [{ oid: first, base: TID_NONE, record }] })
        return isAdded === true ? 'nothing' : 'the intent'
      } finally {
        await store.close()
      }
    } catch (error) {
      return String(error)
    }
  }
  return await Promise.race([work(), sleep(HANG_MS, 'it hangs')])
}

const SIDE_FILES = [
  'test.db-lock',
  'test.db-wal',
  'test.db-log',
  'test.db-log/intents',
  'test.db-log/00000000',
]

describe('is refused, and its target is unchanged:', () => {
  for (const name of SIDE_FILES) {
    test(`${name}, a symbolic link`, async () => {
      if (name.includes('/')) await mkdir(`${path}-log`, { mode: 0o700 })
      await symlink(victim, `${directory}/${name}`)
      expect(await use()).toMatch(/is (a symbolic link|not a regular file|not a directory)/)
      expect(await readFile(victim, 'utf8')).toBe(TEXT)
    })

    test(`${name}, a FIFO`, async () => {
      if (name.includes('/')) await mkdir(`${path}-log`, { mode: 0o700 })
      execFileSync('mkfifo', [`${directory}/${name}`])
      expect(await use()).toMatch(/is not (a regular file|a directory)/)
    })
  }

  test('a log that is a link to a directory', async () => {
    await mkdir(`${directory}/elsewhere`)
    await symlink(`${directory}/elsewhere`, `${path}-log`)
    expect(await use()).toMatch(/-log is not a directory/)
    expect(await readdir(`${directory}/elsewhere`)).toEqual([])
  })

  test('a file in the log that is not a segment', async () => {
    expect(await use()).toBe('nothing')
    await writeFile(`${path}-log/00000005`, TEXT)
    expect(await use()).toMatch(/00000005 is not a segment of this log/)
    expect(await readFile(`${path}-log/00000005`, 'utf8')).toBe(TEXT)
  })

  test('a lock file with another hard link', async () => {
    execFileSync('ln', [victim, `${path}-lock`])
    expect(await use()).toMatch(/-lock has another hard link/)
    expect(await readFile(victim, 'utf8')).toBe(TEXT)
  })
})

test('a log that other users may write is refused', async () => {
  await mkdir(`${path}-log`)
  await chmod(`${path}-log`, 0o777)
  expect(await use()).toMatch(/-log can be written by other users: close it \(chmod go-w/)
})

describe.runIf(IS_ROOT)('of another user,', () => {
  test('a log is refused, and named', async () => {
    await mkdir(`${path}-log`, { mode: 0o700 })
    await chown(`${path}-log`, NOBODY, NOBODY)
    expect(await use()).toMatch(/-log belongs to user 65534, who does not own the database/)
  })

  test('a lock file is refused, and named', async () => {
    await writeFile(`${path}-lock`, '')
    await chown(`${path}-lock`, NOBODY, NOBODY)
    expect(await use()).toMatch(/-lock belongs to user nobody, who does not own the database/)
  })

  test('a pin is ignored, and its FIFO does not block the pack', async () => {
    await use()
    const tid = '040a1b2c3d4e5f60'
    const pin = `${path}-reader-1-1`
    await writeFile(pin, `${tid}\n`)
    const holder = execFileSync.bind(undefined, 'flock', [pin, '-c', 'true'])
    holder()
    await chown(pin, NOBODY, NOBODY)
    execFileSync('mkfifo', [`${path}-reader-2-1`])
    expect(pinnedMoments(path)).toEqual([])
    // Not removed either: it is not ours.
    await stat(pin)
  })

  test('the log of a database belongs to its owner when root creates it', async () => {
    await use()
    await rm(`${path}-log`, { recursive: true })
    await rm(path)
    await writeFile(path, '')
    await chown(path, NOBODY, NOBODY)
    expect(await use()).toBe('nothing')
    for (const name of ['', '/intents', '/00000000'])
      expect((await stat(`${path}-log${name}`)).uid).toBe(NOBODY)
  })

  test.each(['intents', 'reserve'])(
    "a link to root's file named %s is neither given away nor written to",
    async name => {
      await writeFile(path, '')
      await chown(path, NOBODY, NOBODY)
      await mkdir(`${path}-log`, { mode: 0o700 })
      await chown(`${path}-log`, NOBODY, NOBODY)
      await link(victim, `${path}-log/${name}`)
      expect(await use()).toBe(name === 'intents' ? 'the intent' : 'nothing')
      expect((await stat(victim)).uid).toBe(0)
      expect(await readFile(victim, 'utf8')).toBe(TEXT)
    },
  )
})

test('a database of hard links (cp -al) keeps its intent log, and has a reserve of its own', async () => {
  const store = await openSqliteStore(path, { create: true })
  const commit = async (): Promise<void> => {
    const record = { head: Uint8Array.of(1), body: [new Uint8Array(300_000)] }
    await store.commit({ changes: [{ oid: (await store.allocateOids(1)).first, base: TID_NONE, record }] })
  }
  await commit()
  const reserve = `${path}-log/reserve`
  // The writer's thread answers before it allocates.
  await expect.poll(async () => (await stat(reserve)).size, { timeout: 10_000 }).toBeGreaterThan(1 << 20)
  await link(reserve, `${directory}/copy`)
  await commit()
  await expect.poll(async () => (await stat(reserve)).nlink).toBe(1)
  await store.close()
  await expect(stat(reserve)).rejects.toThrow('ENOENT')
  await link(`${path}-log/intents`, `${directory}/copied-intents`).catch(() => undefined)
  expect(await use()).toBe('nothing')
})

test('a command that is done at once makes no reserve, on a disk with ample space', async () => {
  const reserve = `${path}-log/reserve`
  // On a busy machine it may take as long as a program that keeps the database open.
  for (let attempt = 0; attempt < 10; attempt++) {
    const startMs = performance.now()
    const store = await openSqliteStore(path, { create: true })
    for (let count = 0; count < 2; count++) {
      const record = { head: Uint8Array.of(1), body: [new Uint8Array(300_000)] }
      await store.commit({ changes: [{ oid: (await store.allocateOids(1)).first, base: TID_NONE, record }] })
    }
    const found = await stat(reserve).catch(() => undefined)
    const isQuick = performance.now() - startMs < 1000
    await store.close()
    if (!isQuick) continue
    expect(found).toBeUndefined()
    return
  }
})

test('the reserve that a killed process left is adopted, and removed when the database is closed', async () => {
  expect(await use()).toBe('nothing')
  await writeFile(`${path}-log/reserve`, new Uint8Array(1 << 20))
  const store = await openSqliteStore(path, { readOnly: true })
  await store.close()
  expect((await stat(`${path}-log/reserve`)).size).toBe(1 << 20)
  expect(await use()).toBe('nothing')
  await expect(stat(`${path}-log/reserve`)).rejects.toThrow('ENOENT')
})
