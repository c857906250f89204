/** What is refused, with which messages, and what may be open at the same time. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { setImmediate as turn } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CannotOpenError, LockedError } from '../../../store/errors.ts'
import { TID_MAX, TID_NONE } from '../../../store/ids.ts'
import { removeEmptyDatabase } from '../../../store/open-store.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { temporaryDirectory } from './temporary-directory.ts'

let directory: string
let path: string
beforeEach(async () => {
  directory = await temporaryDirectory()
  path = `${directory}/test.db`
})
afterEach(async () => await rm(directory, { recursive: true, force: true }))

async function makeDatabase(bytes = 300_000): Promise<void> {
  const store = await openSqliteStore(path, { create: true })
  const record = { head: new Uint8Array(0), body: [new Uint8Array(bytes)] }
  await store.commit({ changes: [{ oid: (await store.allocateOids(1)).first, base: TID_NONE, record }] })
  await store.close()
}

async function changeDatabase(sql: string): Promise<void> {
  await makeDatabase()
  const db = new Database(path)
  db.exec(sql)
  db.close()
}

test('a database gets its name when it is complete, and other files stay', async () => {
  await writeFile(`${path}-new`, 'of another program')
  const found: number[] = []
  const watching = new AbortController()
  const watched = (async () => {
    // No size but that of the finished database is ever seen under its name.
    while (!watching.signal.aborted) {
      const size = await stat(path).then(
        ({ size }) => size,
        () => undefined,
      )
      if (size !== undefined) found.push(size)
      await turn()
    }
  })()
  await (await openSqliteStore(path, { create: true })).close()
  watching.abort()
  await watched
  expect(Math.min(...found)).toBeGreaterThan(4096)
  expect(await readFile(`${path}-new`, 'latin1')).toBe('of another program')
  expect((await readdir(directory)).filter(name => name.endsWith('~'))).toEqual([])
})

test.each([2, 3])('a database of format %i is read, and has format 4 after a change', async previous => {
  await changeDatabase(`PRAGMA user_version = ${previous}`)
  const format = (): unknown => {
    const db = new Database(path, { readonly: true })
    try {
      return db.pragma('user_version', { simple: true })
    } finally {
      db.close()
    }
  }
  const reader = await openSqliteStore(path, { readOnly: true })
  const last = await reader.lastTid()
  await reader.close()
  expect(format()).toBe(previous)
  const store = await openSqliteStore(path)
  const record = { head: Uint8Array.of(1) }
  await store.commit({ changes: [{ oid: (await store.allocateOids(1)).first, base: TID_NONE, record }] })
  expect(await store.lastTid()).toBeGreaterThan(last)
  await store.close()
  expect(format()).toBe(4)
})

const refused: Record<string, { make: () => Promise<void>; says: RegExp }> = {
  'a file that is not there': { make: async () => {}, says: /does not exist/ },
  'a directory': {
    make: async () => await mkdir(path),
    says: /is not a zblkfs database: it is a directory/,
  },
  'an empty file': { make: async () => await writeFile(path, ''), says: /is empty/ },
  'a text file': {
    make: async () => await writeFile(path, 'to be or not to be\n'.repeat(100)),
    says: /is not a zblkfs database: it is not a SQLite database/,
  },
  'a database of another program': {
    make: async () => {
      const db = new Database(path)
      db.exec('CREATE TABLE t (x)')
      db.close()
    },
    says: /is not a zblkfs database: .* of another program \(application id 0\)/,
  },
  'a newer format': {
    make: async () => await changeDatabase('PRAGMA user_version = 99'),
    says: /has format 99, newer than the format \d+ of this version/,
  },
  'an older format': {
    make: async () => await changeDatabase('PRAGMA user_version = 1'),
    says: /has format 1, which this version of zblkfs \(format \d+\) does not read/,
  },
  'a database that was cut short': {
    make: async () => {
      await makeDatabase()
      await truncate(path, 20_000)
    },
    says: /damaged or cut short/,
  },
  'a database cut within its first page': {
    make: async () => {
      await makeDatabase()
      await truncate(path, 1000)
    },
    says: /cannot be opened: it is .*(damaged|not a SQLite database)/,
  },
  'a database whose log is missing': {
    make: async () => {
      await makeDatabase()
      await rename(`${path}-log`, `${path}-elsewhere`)
    },
    says: /log file .*test\.db-log\/00000000 is missing: put .*test\.db-log back next to the database$/,
  },
  'a database with the log of another one': {
    make: async () => {
      await makeDatabase()
      const own = `${path}-log`
      await rename(own, `${path}-elsewhere`)
      await rename(path, `${path}-first`)
      await makeDatabase()
      await rename(own, `${path}-second`)
      await rename(`${path}-elsewhere`, own)
      await rm(`${path}-first`)
      await rm(`${path}-second`, { recursive: true })
    },
    says: /log file .*00000000 belongs to another database: put the right .*test\.db-log in its place/,
  },
  'a database whose log was cut short': {
    make: async () => {
      await makeDatabase()
      await truncate(`${path}-log/00000000`, 100_000)
    },
    says: /log file .*00000000 is cut short/,
  },
  'a database whose id is damaged': {
    make: async () => await changeDatabase("UPDATE meta SET value = replace(value, 'a', 'b') || '0'"),
    says: /the database's id is damaged/,
  },
  'a database without one of its tables': {
    make: async () => await changeDatabase('DROP TABLE meta'),
    says: /damaged or cut short .*no such table/,
  },
}

describe('opening refuses', () => {
  for (const [what, { make, says }] of Object.entries(refused)) {
    for (const readOnly of [false, true]) {
      test(`${what}, ${readOnly ? 'for reading' : 'for writing'}, and leaves nothing behind`, async () => {
        await make()
        const before = await readdir(directory)
        const error: unknown = await (
          readOnly ? openSqliteStore(path, { readOnly }) : openSqliteStore(path)
        ).catch((reason: unknown) => reason)
        expect(error).toBeInstanceOf(CannotOpenError)
        expect(String(error)).toMatch(says)
        expect(String(error)).toContain(path)
        // A connection that only reads cannot remove the empty WAL that it needs.
        const after = await readdir(directory)
        const kept = readOnly ? after.filter(name => !/-(wal|shm)$/.test(name)) : after
        expect(kept).toEqual(before)
      })
    }
  }

  test('to create a database in a missing directory', async () => {
    const opening = openSqliteStore(`${directory}/no/such.db`, { create: true })
    await expect(opening).rejects.toThrow(
      /no\/such\.db cannot be created: .*\/no is not a directory; create it first/,
    )
  })

  test.runIf(process.getuid?.() === 0)('what the permissions forbid', async () => {
    await makeDatabase()
    await chmod(directory, 0o755)
    await chmod(path, 0o600)
    await chown(directory, 65_534, 65_534)
    const source = `
      import { openSqliteStore } from ${JSON.stringify(new URL('../../../store/sqlite/open/open-sqlite-store.ts', import.meta.url).href)}
      process.setgid(65534); process.setuid(65534)
      await openSqliteStore(${JSON.stringify(path)}, { readOnly: true }).catch((error) => console.log(String(error)))
      await openSqliteStore(${JSON.stringify(path)}).catch((error) => console.log(String(error)))`
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', source])
    let output = ''
    child.stdout.on('data', (data: Buffer) => (output += data.toString()))
    await once(child, 'close')
    expect(output.trim().split('\n')).toEqual([
      `CannotOpenError: ${path} cannot be opened: permission denied; check the permissions of the file and of its directory`,
      `CannotOpenError: ${path} cannot be opened: permission denied; check the permissions of the file and of its directory`,
    ])
  })
})

describe('opening', () => {
  test('creates a database readable by its owner only', async () => {
    const store = await openSqliteStore(path, { create: true })
    await store.commit({
      changes: [
        { oid: (await store.allocateOids(1)).first, base: TID_NONE, record: { head: Uint8Array.of(1) } },
      ],
    })
    for (const suffix of ['', '-wal', '-shm']) expect((await stat(path + suffix)).mode & 0o777).toBe(0o600)
    await store.close()
    expect(await readdir(directory)).toEqual(['test.db'])
  })

  test('refuses a second writer and reports the purpose of the first', async () => {
    const store = await openSqliteStore(path, { create: true, purpose: 'an import' })
    const error: unknown = await openSqliteStore(path).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(LockedError)
    expect(error).toMatchObject({ holder: `process ${process.pid} (an import)` })
    await expect(openSqliteStore(`${directory}/../${directory.split('/').at(-1)}/test.db`)).rejects.toThrow(
      `${path} is in use by process ${process.pid} (an import)`,
    )
    await store.close()
    await (await openSqliteStore(path)).close()
  })

  test('needs no clean-up after the kill of a writer in another process', async () => {
    const child = spawn(process.execPath, [new URL('crash-child.ts', import.meta.url).pathname, path, '1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    await expect(openSqliteStore(path)).rejects.toThrow(`is in use by process ${child.pid} (a test)`)
    child.kill('SIGKILL')
    await once(child, 'exit')
    const store = await openSqliteStore(path)
    expect(await store.lastTid()).toBeGreaterThan(TID_NONE)
    await store.close()
  })

  test('for reading sees what a writer in another process commits', async () => {
    await makeDatabase()
    const reader = await openSqliteStore(path, { readOnly: true })
    const before = await reader.lastTid()
    const child = spawn(process.execPath, [new URL('crash-child.ts', import.meta.url).pathname, path, '1'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    const after = await reader.lastTid()
    expect(after).toBeGreaterThan(before)
    let objects = 0
    for await (const { oids } of reader.changes(before, after)) {
      expect((await reader.load(oids, after)).every(revision => revision !== undefined)).toBe(true)
      objects += oids.length
    }
    expect(objects).toBeGreaterThan(0)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await reader.close()
  })

  test('for reading does not change the database', async () => {
    await makeDatabase()
    const before = await readFile(path)
    const reader = await openSqliteStore(path, { readOnly: true })
    await reader.load([], TID_MAX)
    await reader.close()
    expect(Buffer.compare(await readFile(path), before)).toBe(0)
  })
})

test('an empty database is removed, unless it has a transaction or a writer', async () => {
  const empty = `${directory}/empty`
  const store = await openSqliteStore(empty, { create: true })
  await removeEmptyDatabase(empty)
  expect(await readdir(directory)).toContain('empty')
  await store.close()
  await removeEmptyDatabase(empty)
  expect((await readdir(directory)).filter(name => name.startsWith('empty'))).toEqual([])
  const kept = await openSqliteStore(empty, { create: true })
  await kept.commit({ changes: [{ oid: (await kept.allocateOids(1)).first, base: TID_NONE, record: null }] })
  await kept.close()
  await removeEmptyDatabase(empty)
  expect(await readdir(directory)).toContain('empty')
})
