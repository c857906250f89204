/** A read-only mount beside the one that writes, on every kind of database. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { withMount } from '../tools/mounted.ts'
import { hasPostgres, makePostgresDatabase } from '../tools/postgres-server.ts'
import { runProgram, runZblkfs } from '../tools/run-zblkfs.ts'

const kinds = ['a file', ...(hasPostgres ? ['a server'] : [])] as const

/** Makes a transaction, which an fsync would not. */
async function store(path: string, content: string): Promise<void> {
  writeFileSync(path, content)
  expect(await runZblkfs('sync', dirname(path))).toMatchObject({ exitCode: 0 })
}

describe.each(kinds)('beside a writer, on a database in %s', kind => {
  test('a read-only mount shows stored changes within a bounded time', async () => {
    const database = kind === 'a server' ? await makePostgresDatabase() : undefined
    try {
      await withMount(
        { driver: 'kernel', ...(database && { db: database.url }) },
        async ({ dir, db, scratch }) => {
          await store(join(dir, 'old'), 'old content')
          const reading = join(scratch, 'reading')
          mkdirSync(reading)
          expect(await runZblkfs('mount', '-o', 'ro', db, reading)).toMatchObject({ exitCode: 0 })
          try {
            await expectFollows(dir, reading)
          } finally {
            await runProgram('umount', ['-l', reading])
          }
        },
      )
    } finally {
      await database?.remove()
    }
  })
})

async function expectFollows(dir: string, reading: string): Promise<void> {
  const soon = { timeout: 20_000, interval: 50 }
  const at = (): string => readFileSync(join(reading, '.zblkfs/at'), 'utf8').trim()
  expect(await readFile(join(reading, 'old'), 'utf8')).toBe('old content')
  const before = at()
  await store(join(dir, 'old'), 'new content, which is longer')
  await vi.waitFor(
    async () => expect(await readFile(join(reading, 'old'), 'utf8')).toBe('new content, which is longer'),
    soon,
  )
  expect(at() > before).toBe(true)
  mkdirSync(join(dir, 'directory'))
  renameSync(join(dir, 'old'), join(dir, 'directory', 'moved'))
  await store(join(dir, 'added'), 'added')
  await vi.waitFor(
    async () => expect((await readdir(reading)).toSorted()).toEqual(['added', 'directory']),
    soon,
  )
  // The kernel drops a cached name after the move, not with it.
  await vi.waitFor(() => expect(existsSync(join(reading, 'old'))).toBe(false), soon)
  expect(existsSync(join(reading, 'last'))).toBe(false)
  expect(await readFile(join(reading, 'directory/moved'), 'utf8')).toBe('new content, which is longer')
  rmSync(join(dir, 'added'))
  await store(join(dir, 'last'), 'x')
  await vi.waitFor(() => expect(existsSync(join(reading, 'added'))).toBe(false), soon)
  await vi.waitFor(() => expect(existsSync(join(reading, 'last'))).toBe(true), soon)
  expect(() => writeFileSync(join(reading, 'last'), 'y')).toThrow('EROFS')
}
