/** A mount of a database on a PostgreSQL server: what it keeps, and what it does when the server or its session is gone. */
import { readFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { openDatabase } from '../../store/open-store.ts'
import { withMount, type TestMount } from '../tools/mounted.ts'
import { hasPostgres, makePostgresDatabase, PostgresServer } from '../tools/postgres-server.ts'
import { runProgram, runZblkfs } from '../tools/run-zblkfs.ts'
import { bytes, statusOf, storeSynced, succeed, useEveryCommand } from './every-command.ts'

const SOON = { timeout: 60_000, interval: 100 }

describe.skipIf(!hasPostgres)('a mount of a database on a server', () => {
  const withServer = async (
    body: (mount: TestMount, server: PostgresServer) => Promise<void>,
    options: readonly string[] = [],
  ): Promise<void> => {
    const server = await PostgresServer.make()
    try {
      const { url } = await server.makeDatabase()
      await withMount({ driver: 'kernel', db: url, options }, async mount => await body(mount, server))
    } finally {
      await server.remove()
    }
  }

  test('files, history and every command', async () => {
    const database = await makePostgresDatabase()
    try {
      await withMount({ driver: 'kernel', db: database.url }, useEveryCommand)
    } finally {
      await database.remove()
    }
  })

  test('synced data is there after the daemon is killed', async () => {
    const database = await makePostgresDatabase()
    try {
      await withMount({ driver: 'kernel', db: database.url }, async mount => {
        const { dir } = mount
        for (let round = 0; round < 3; round++) {
          const content = bytes(300_000 + round * 77_777, round + 3)
          storeSynced(join(dir, `file${round}`), content)
          await writeFile(join(dir, `unsynced${round}`), 'may be lost')
          await mount.kill()
          await mount.remount()
          expect(readFileSync(join(dir, `file${round}`)).equals(content)).toBe(true)
        }
      })
    } finally {
      await database.remove()
    }
  })

  test('the mount survives a restart of the server, and reports it', async () => {
    await withServer(async ({ dir }, server) => {
      storeSynced(join(dir, 'before'), 'before')
      await server.stop('immediate')
      await vi.waitFor(
        async () => expect((await statusOf(dir))?.connection).toMatchObject({ state: 'reconnecting' }),
        SOON,
      )
      const syncing = runProgram('sh', ['-c', `echo during > ${dir}/during && sync ${dir}/during`])
      await server.start()
      expect(await syncing).toMatchObject({ exitCode: 0 })
      expect(await readFile(join(dir, 'before'), 'utf8')).toBe('before')
      await vi.waitFor(
        async () => expect((await statusOf(dir))?.connection).toEqual({ state: 'connected' }),
        SOON,
      )
      storeSynced(join(dir, 'after'), 'after')
      expect(await readFile(join(dir, '@now/during'), 'utf8')).toBe('during\n')
    })
  })

  test('a writer whose session is ended by an administrator stores nothing more, and reports it', async () => {
    await withServer(
      async (mount, server) => {
        const { dir, db } = mount
        storeSynced(join(dir, 'stored'), 'stored')
        await writeFile(join(dir, 'lost'), 'lost')
        await server.execute(
          `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND objid = 1`,
          'postgres',
        )
        await vi.waitFor(
          async () => expect((await statusOf(dir))?.connection).toMatchObject({ state: 'fenced' }),
          SOON,
        )
        expect(() => storeSynced(join(dir, 'lost'), 'more')).toThrow('EIO')
        expect(await readFile(join(dir, 'stored'), 'utf8')).toBe('stored')
        expect(await readFile(join(dir, 'lost'), 'utf8'), 'what is not stored can be read').toBe('lost')
        expect((await runZblkfs('status')).stdout).toContain('CANNOT BE WRITTEN')
        const { exitCode, stderr } = await runZblkfs('sync', dir)
        expect(exitCode).toBe(1)
        expect(stderr).toContain('an administrator ended its session')
        expect(await succeed('log', db)).not.toContain('lost')
        await mount.kill()
        await mount.remount()
        storeSynced(join(dir, 'again'), 'again')
        expect(() => readFileSync(join(dir, 'lost'))).toThrow('ENOENT')
      },
      ['commit_interval=60s'],
    )
  })

  test('a writer that is alone is refused beside a mount, and names it', async () => {
    const database = await makePostgresDatabase()
    try {
      await withMount({ driver: 'kernel', db: database.url }, async ({ dir, db }) => {
        await expect(openDatabase(db)).rejects.toThrow(`mounted at ${dir}`)
      })
    } finally {
      await database.remove()
    }
  })

  test('a password is never shown: a URL with one is refused with the reason', async () => {
    const { exitCode, stderr } = await runZblkfs('log', 'postgres://user:secret@localhost/name')
    expect(exitCode).toBe(1)
    expect(stderr).toContain('.pgpass')
    expect(stderr).not.toContain('secret')
  })
})
