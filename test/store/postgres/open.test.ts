/** Databases that cannot be opened, and what is said about them. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { CannotOpenError } from '../../../store/errors.ts'
import { TID_NONE } from '../../../store/ids.ts'
import { parseAddress } from '../../../store/postgres/address.ts'
import { openPostgresStore, type OpenPostgresOptions } from '../../../store/postgres/open-postgres-store.ts'
import { Session } from '../../../store/postgres/session.ts'
import { recognise } from '../../../store/recognise.ts'
import type { WritableStore } from '../../../store/store.ts'
import { hasPostgres, makePostgresDatabase, type TestPostgresDatabase } from '../../tools/postgres-server.ts'

async function refusal(
  url: string,
  options: OpenPostgresOptions = { create: true },
): Promise<CannotOpenError> {
  try {
    await (await openPostgresStore(url, options)).close()
  } catch (error) {
    expect(error).toBeInstanceOf(CannotOpenError)
    return error as CannotOpenError
  }
  return expect.fail(`${url} was opened`)
}

function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-pg-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

async function makeDatabase(): Promise<TestPostgresDatabase> {
  const database = await makePostgresDatabase()
  onTestFinished(async () => await database.remove())
  return database
}

/** A role of the shared server, with the rights that the statements give. */
async function makeRole(
  database: TestPostgresDatabase,
  options: string,
  ...grants: readonly string[]
): Promise<string> {
  const role = `role_${database.name}`
  await database.execute(`CREATE ROLE ${role} LOGIN ${options}`)
  for (const grant of grants) await database.execute(`${grant} TO ${role}`)
  onTestFinished(async () => {
    await database.execute(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
  })
  return role
}

test('without a server the message names its address', async () => {
  const directory = temporaryDirectory()
  const error = await refusal(`postgres:///name?host=${directory}`)
  expect(error).toMatchObject({ code: 'server-gone' })
  expect(error.message).toContain(`${directory}/.s.PGSQL.5432 (ENOENT)`)
  expect((await refusal('postgres://localhost:1/name')).message).toContain('localhost:1')
})

test('a server that is too old', async () => {
  const directory = temporaryDirectory()
  const message = (type: string, body: Buffer): Buffer => {
    const length = Buffer.alloc(4)
    length.writeInt32BE(body.length + 4)
    return Buffer.concat([Buffer.from(type), length, body])
  }
  const ready = message('Z', Buffer.from('I'))
  const column = Buffer.concat([Buffer.from([0, 1]), Buffer.from('v\0'), Buffer.alloc(18)])
  const value = Buffer.concat([Buffer.from([0, 1, 0, 0, 0, 6]), Buffer.from('130004')])
  const answer = [message('T', column), message('D', value), message('C', Buffer.from('SELECT 1\0')), ready]
  const server = createServer(socket => {
    socket.once('data', () => {
      socket.write(Buffer.concat([message('R', Buffer.alloc(4)), ready]))
      socket.on('data', () => socket.write(Buffer.concat(answer)))
    })
    socket.on('error', () => undefined)
  })
  await new Promise<void>(resolve => server.listen(join(directory, '.s.PGSQL.5432'), () => resolve()))
  onTestFinished(() => void server.close())
  const error = await refusal(`postgres:///name?host=${directory}`)
  expect(error.message).toContain('the server has PostgreSQL 13: zblkfs needs 14')
})

describe.skipIf(!hasPostgres)('PostgreSQL: opening', () => {
  test('a database that the server does not have', async () => {
    const { server } = await makeDatabase()
    const error = await refusal(server.url('no_such_database'))
    expect(error).toMatchObject({ code: 'server-lacks-database', path: 'no_such_database' })
    expect(error.message).toContain('no_such_database')
  })

  test('an empty database is initialised only on request', async () => {
    const { url, name } = await makeDatabase()
    expect(await recognise(url)).toBe('none')
    expect(await refusal(url, {})).toMatchObject({ code: 'no-database' })
    expect(await refusal(url, { create: true, readOnly: true })).toMatchObject({ code: 'no-database' })
    expect(await recognise(url)).toBe('none')
    const store = await openPostgresStore(url, { create: true })
    expect(await recognise(url)).toBe('postgres')
    expect(store.name).toMatch(new RegExp(`^postgres://postgres@/${name}\\?host=/`))
    await store.close()
  })

  test("another program's tables", async () => {
    const database = await makeDatabase()
    const { url } = database
    await database.execute('CREATE TABLE customers (id integer)')
    const error = await refusal(url)
    expect(error).toMatchObject({ code: 'not-a-database' })
    expect(error.message).toContain('public.customers')
    await expect(recognise(url)).rejects.toThrow('another program')
    await database.execute(
      'DROP TABLE customers; CREATE SCHEMA zblkfs; CREATE TABLE zblkfs.other (id integer)',
    )
    expect((await refusal(url)).message).toContain("a schema 'zblkfs' that is not one of zblkfs")
  })

  test('a newer format', async () => {
    const database = await makeDatabase()
    const { url } = database
    await (await openPostgresStore(url, { create: true })).close()
    await database.execute("UPDATE zblkfs.meta SET value = '999' WHERE name = 'format'")
    expect((await refusal(url)).message).toContain('has format 999')
    expect((await refusal(url, { readOnly: true })).message).toContain('newer than the format')
  })

  test('missing privileges are reported with the statements that grant them', async () => {
    const database = await makeDatabase()
    const { server, name } = database
    const role = await makeRole(database, '')
    const url = server.url(name, role)
    const creating = await refusal(url)
    expect(creating).toMatchObject({ code: 'server-forbids' })
    expect(creating.message).toContain(`GRANT CREATE ON DATABASE ${name} TO ${role}`)
    await (await openPostgresStore(database.url, { create: true })).close()
    expect((await refusal(url, { readOnly: true })).message).toContain('GRANT USAGE ON SCHEMA zblkfs')
    await database.execute(
      `GRANT USAGE ON SCHEMA zblkfs TO ${role}; GRANT SELECT ON ALL TABLES IN SCHEMA zblkfs TO ${role}`,
    )
    const reader = await openPostgresStore(url, { readOnly: true })
    expect(await reader.lastTid()).toBe(TID_NONE)
    expect(await reader.capabilities.pinning?.pin([TID_NONE])).toBe(true)
    await reader.close()
    expect((await refusal(url, {})).message).toContain('may only read')
    await database.execute(`GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA zblkfs TO ${role}`)
    const writer = (await openPostgresStore(url)) as WritableStore
    const { first } = await writer.allocateOids(1)
    await writer.commit({ changes: [{ oid: first, base: TID_NONE, record: { head: Uint8Array.of(1) } }] })
    await writer.close()
  })

  test('functions of an earlier version are replaced when the database is opened for writing', async () => {
    const database = await makeDatabase()
    const { server, name, url } = database
    const role = await makeRole(database, '')
    const functions = async (): Promise<unknown> =>
      await database.execute(`
        SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'zblkfs'::regnamespace AND prosrc LIKE '%fence%' ORDER BY 1`)
    await (await openPostgresStore(url, { create: true })).close()
    const present = await functions()
    await database.execute(`
      DELETE FROM zblkfs.meta WHERE name = 'functions';
      CREATE OR REPLACE FUNCTION zblkfs.lock_lease() RETURNS bigint LANGUAGE sql AS
        'UPDATE zblkfs.writer SET fenced = fenced; SELECT epoch FROM zblkfs.lease';
      GRANT USAGE ON SCHEMA zblkfs TO ${role};
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA zblkfs TO ${role}`)
    const earlier = await functions()
    expect(earlier).not.toEqual(present)
    const warnings: string[] = []
    const warn = (message: string): void => void warnings.push(message)
    await (await openPostgresStore(server.url(name, role), { warn })).close()
    expect(warnings).toEqual([expect.stringContaining('let its owner mount it once')])
    expect(await functions()).toEqual(earlier)
    await (await openPostgresStore(url, { warn })).close()
    expect(await functions()).toEqual(present)
    await (await openPostgresStore(server.url(name, role), { warn })).close()
    expect(warnings).toHaveLength(1)
  })

  test('a server that confirms commits before they are on its disk does so for no session of zblkfs', async () => {
    const database = await makeDatabase()
    const setting = async (): Promise<unknown> => {
      const session = await Session.open(parseAddress(database.url))
      const rows = await session.query('SHOW synchronous_commit')
      session.close()
      return rows
    }
    await database.execute(`ALTER DATABASE ${database.name} SET synchronous_commit = off`)
    expect(await setting()).toEqual([['on']])
    await database.execute(`ALTER DATABASE ${database.name} SET synchronous_commit = remote_apply`)
    expect(await setting()).toEqual([['remote_apply']])
  })

  test('a password comes from the environment or the password file, and its absence is reported', async () => {
    const database = await makeDatabase()
    const { server, name } = database
    const role = await makeRole(database, "PASSWORD 'a:secret'", `GRANT CREATE ON DATABASE ${name}`)
    const hba = join(server.directory, 'data', 'pg_hba.conf')
    const before = readFileSync(hba, 'utf8')
    writeFileSync(hba, `local all ${role} scram-sha-256\n${before}`)
    await database.execute('SELECT pg_reload_conf()')
    onTestFinished(async () => {
      vi.unstubAllEnvs()
      writeFileSync(hba, before)
      await database.execute('SELECT pg_reload_conf()')
    })
    const url = server.url(name, role)
    const file = join(temporaryDirectory(), 'pgpass')
    vi.stubEnv('PGPASSFILE', file)
    await vi.waitFor(async () => expect(await refusal(url)).toMatchObject({ code: 'server-forbids' }))
    const without = await refusal(url)
    expect(without.message).toContain('~/.pgpass')
    writeFileSync(file, `${server.directory}:*:*:${role}:wrong\n`, { mode: 0o600 })
    const wrong = await refusal(url)
    expect(wrong).toMatchObject({ code: 'server-forbids' })
    expect(wrong.message).not.toContain('wrong\n')
    writeFileSync(file, `# a comment\nother:*:*:*:x\n${server.directory}:5432:${name}:${role}:a\\:secret\n`)
    await (await openPostgresStore(url, { create: true })).close()
    chmodSync(file, 0o644)
    expect(await refusal(url), 'a file that others may read').toMatchObject({ code: 'server-forbids' })
    vi.stubEnv('PGPASSWORD', 'a:secret')
    await (await openPostgresStore(url, { create: true })).close()
  })
})
