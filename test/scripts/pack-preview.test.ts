/** `zblkfs pack --dry-run`, `history --keep` with schedules, and `tag --hold`, typed as a user would. */
import { mkdtempSync } from 'node:fs'
import { unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { open } from '../../index.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs, zblkfsOutput } from '../tools/run-zblkfs.ts'

const database = join(mkdtempSync(join(tmpdir(), 'zblkfs-preview-')), 'db')

test('pack --dry-run lists moments and files, and drops nothing', async () => {
  const db = await open(database, { create: true })
  await db.files.writeFile('/gone', Buffer.alloc(1 << 20, 1))
  const first = await db.sync('the first')
  await db.files.unlink('/gone')
  const last = await db.sync()
  await db.close()
  const shown = (await zblkfsOutput('pack', database, '--dry-run', '--keep', '0')).split('\n')
  expect(shown.find(line => line.startsWith(first))).toContain('the first')
  expect(shown).toContain('  D  gone  (1.0 MiB)')
  expect(shown.at(-2)).toMatch(/a pack would drop \d+ moments? and 1 file .* about 1\.\d MiB; /)
  expect(shown.at(-2)).toContain(last)
  const json = await zblkfsOutput('pack', database, '-n', '--keep', '0', '--json')
  const lines = json
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line) as object)
  expect(lines).toContainEqual({ path: 'gone', mode: '100644', size: String(1 << 20) })
  expect(lines.at(-1)).toMatchObject({ files: 1, historyFrom: last })
  // The schedule keeps the last moment of today that is not the present.
  const daily = await zblkfsOutput('pack', database, '-n', '--keep', 'all=0,daily=1w')
  expect(daily).toMatch(/would drop \d+ moments? and 0 files/)
  const nothing = await zblkfsOutput('pack', database, '-n')
  expect(nothing).toContain('would drop 0 moments and 0 files')
  expect(nothing).not.toContain('would begin')
  expect(await zblkfsOutput('ls', database, '--at', first)).toContain('gone')
  expect((await runZblkfs('pack', database, '-n', '--keep', '0', '--before', 'now')).exitCode).toBe(2)
  expect((await runZblkfs('pack', database, '--keep', 'all=1d,daily=1w')).exitCode).toBe(2)
})

test('a path that was removed several times is listed once', async () => {
  const path = `${database}-again`
  const db = await open(path, { create: true })
  const remove = async (): Promise<string> => {
    await db.files.unlink('/a')
    return await db.sync()
  }
  await db.files.writeFile('/a', 'one')
  await db.sync()
  await db.undo(await remove())
  await remove()
  await db.files.writeFile('/a', 'longer')
  await db.sync()
  await remove()
  await db.close()
  const shown = (await zblkfsOutput('pack', path, '--dry-run', '--keep', '0')).split('\n')
  expect(shown.filter(line => line.startsWith('  D'))).toEqual(['  D  a  (6 B)'])
  expect(shown.at(-2)).toContain('and 1 file that')
})

test('a schedule without all= is pointed out', async () => {
  const { stderr, stdout, exitCode } = await runZblkfs('history', database, '--keep', 'daily=30d')
  expect(stderr).toContain('has no all=')
  expect(stdout).toContain('the last moment of each day for 30d')
  expect(exitCode).toBe(0)
  expect((await runZblkfs('history', database, '--keep', 'all=7d,daily=30d')).stderr).toBe('')
  expect((await runZblkfs('history', database, '--keep', '1e30d')).exitCode).toBe(2)
})

test('a held tag is kept, with and without a mount', async () => {
  const use = async (place: string): Promise<void> => {
    const tag = (...args: string[]): ReturnType<typeof runZblkfs> => runZblkfs('tag', ...args, '--db', place)
    expect((await tag('audit', '--hold')).stdout).toMatch(/^audit is [0-9a-f]{16}, held\n$/)
    const { stderr, exitCode } = await tag('-d', 'audit')
    expect(stderr).toContain("is held: release it first with 'zblkfs tag audit --release'")
    expect(exitCode).toBe(1)
    expect((await tag('-l')).stdout).toContain('audit  (held)')
    expect(JSON.parse((await tag('-l', '--json')).stdout)).toMatchObject({ name: 'audit', held: true })
    expect((await tag('audit', '--hold', '--release')).exitCode).toBe(2)
    expect((await tag('--hold')).exitCode).toBe(2)
    expect((await tag('other', '--release')).stderr).toContain('there is no tag other')
    expect(await tag('audit', '--release')).toMatchObject({ exitCode: 0 })
    expect(await tag('-d', 'audit')).toMatchObject({ exitCode: 0 })
  }
  await use(database)
  await withMount({}, async ({ dir }) => {
    await writeFile(join(dir, 'a'), 'x')
    await use(dir)
    await unlink(join(dir, 'a'))
  })
})
