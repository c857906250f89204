/** A database behind PgBouncer: refused where a session of the client is not one of the server, else like any other. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { TID_NONE } from '../../../store/ids.ts'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import type { WritableStore } from '../../../store/store.ts'
import { hasPostgres, makePostgresDatabase } from '../../tools/postgres-server.ts'
import { serverUser } from '../../tools/shared-server.ts'

const PROGRAM = '/usr/sbin/pgbouncer'

/** Starts PgBouncer before a new database; returns its URL. */
async function poolBefore(mode: 'transaction' | 'session'): Promise<string> {
  const database = await makePostgresDatabase()
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-pb-'))
  const user = serverUser('postgres')
  const file = join(directory, 'pgbouncer.ini')
  writeFileSync(
    file,
    `[databases]
${database.name} = host=${database.server.directory} user=postgres
[pgbouncer]
listen_port = 6432
listen_addr =
unix_socket_dir = ${directory}
auth_type = any
pool_mode = ${mode}
ignore_startup_parameters = extra_float_digits
max_client_conn = 50
default_pool_size = 20
`,
  )
  if (user !== undefined) for (const path of [directory, file]) chownSync(path, user.uid, user.gid)
  chmodSync(directory, 0o755)
  const pooler: ChildProcess = spawn(PROGRAM, [file], {
    stdio: 'ignore',
    cwd: '/',
    ...(user && { uid: user.uid, gid: user.gid }),
  })
  onTestFinished(async () => {
    const ended = once(pooler, 'exit')
    pooler.kill('SIGKILL')
    await ended
    await database.remove()
    rmSync(directory, { recursive: true, force: true })
  })
  await vi.waitFor(() => expect(existsSync(join(directory, '.s.PGSQL.6432'))).toBe(true), { timeout: 20_000 })
  return `postgres:///${database.name}?host=${directory}&port=6432&user=postgres`
}

describe.skipIf(!hasPostgres || !existsSync(PROGRAM))('behind PgBouncer', () => {
  test('in transaction mode a database is refused, with the reason', async () => {
    const url = await poolBefore('transaction')
    const refusal = await openPostgresStore(url, { create: true }).catch((error: unknown) => error)
    expect(refusal).toMatchObject({ code: 'server-unfit' })
    expect(String(refusal)).toContain('pool_mode = session')
    await expect(openPostgresStore(url, { readOnly: true })).rejects.toMatchObject({ code: 'server-unfit' })
  })

  test('in session mode a database is written and read', async () => {
    const url = await poolBefore('session')
    const store = (await openPostgresStore(url, { create: true })) as WritableStore
    const { first } = await store.allocateOids(1)
    const record = { head: Uint8Array.of(7) }
    const tid = await store.commit({ changes: [{ oid: first, base: TID_NONE, record }] })
    await expect(openPostgresStore(url)).rejects.toMatchObject({ code: 'locked' })
    const reader = await openPostgresStore(url, { readOnly: true })
    expect(await reader.lastTid()).toBe(tid)
    expect((await reader.load([first], tid))[0]?.record).toEqual(Buffer.of(7))
    await reader.close()
    await store.close()
  })
})
