/** The command as a person runs it. */
import { copyFile, link, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { expect, test } from 'vitest'
import { makeSmallDatabase } from '../core/check/small-database.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

test('a clean database passes, a damaged one is reported and repaired, with their exit codes', async () => {
  const path = temporaryDatabase()
  await makeSmallDatabase(path, true)
  const clean = await runZblkfs('fsck', '--data', path)
  expect(clean).toMatchObject({ exitCode: 0, stderr: '' })
  expect(clean.stdout).toMatch(/is clean: 7 files and directories, every byte/)

  const db = new Database(path)
  db.exec("DELETE FROM revision WHERE instr(head, 'ZData')")
  db.close()
  const damaged = await runZblkfs('fsck', path)
  expect(damaged.exitCode).toBe(4)
  expect(damaged.stdout).toMatch(/^\/a\/b\/chunks bytes \[0, \d+\): it does not exist/m)
  expect(damaged.stdout).toContain("'zblkfs fsck --repair' saves what can be saved")

  const json = JSON.parse((await runZblkfs('fsck', '--json', path)).stdout) as {
    damages: { path?: string; lo?: number }[]
  }
  expect(json.damages).toContainEqual(expect.objectContaining({ kind: 'file', lo: 0 }))

  const repaired = await runZblkfs('fsck', '--repair', path)
  expect(repaired.exitCode).toBe(1)
  expect(repaired.stdout).toContain('; repair: ')
  expect(await runZblkfs('fsck', '--data', path)).toMatchObject({ exitCode: 0 })
})

test('input that cannot be checked is refused with a message', async () => {
  const path = temporaryDatabase()
  expect(await runZblkfs('fsck', path)).toMatchObject({
    exitCode: 2,
    stderr: expect.stringContaining('does not exist or is empty') as string,
  })
  expect(await runZblkfs('fsck')).toMatchObject({ exitCode: 2 })
  await writeFile(path, 'SQLite format 3\0'.padEnd(200, 'zblk'))
  expect((await runZblkfs('fsck', path)).exitCode).toBe(4)
  await writeFile(path, 'of another program')
  const foreign = await runZblkfs('fsck', path)
  expect(foreign.stderr).toContain('is not a zblkfs database')
  expect(foreign.exitCode).toBe(4)
})

test('a database that SQLite cannot open is reported with the remedy', async () => {
  const path = temporaryDatabase()
  await makeSmallDatabase(path, true)
  const bytes = await readFile(path)
  bytes.write('CREATE TABLE txn )', bytes.indexOf('CREATE TABLE txn ('))
  await writeFile(path, bytes)
  const result = await runZblkfs('fsck', path)
  expect(result.exitCode).toBe(4)
  expect(result.stderr).toContain('.recover')
})

test('a failed repair is reported, with the exit code for remaining damage', async () => {
  const path = temporaryDatabase()
  await makeSmallDatabase(path, true)
  await rm(`${path}-log`, { recursive: true })
  const result = await runZblkfs('fsck', '--repair', path)
  expect(result).toMatchObject({ exitCode: 4 })
  expect(result.stderr).toContain('the repair of')
  expect(result.stdout).not.toContain('repaired')
})

test('a mounted database is checked, by either name, but not repaired', async () => {
  await withMount({}, async ({ dir, db }) => {
    await writeFile(join(dir, 'file'), 'content')
    expect(await runZblkfs('sync', dir)).toMatchObject({ exitCode: 0 })
    for (const name of [db, dir]) {
      const { exitCode, stdout } = await runZblkfs('fsck', '--data', name)
      expect(stdout).toContain('is clean: 2 files and directories')
      expect(exitCode).toBe(0)
    }
    const refused = await runZblkfs('fsck', '--repair', dir)
    expect(refused).toMatchObject({ exitCode: 2, stdout: '' })
    expect(refused.stderr).toMatch(/is in use by process \d+ \(mounted at .*\): unmount it to repair it/)
  })
})

test('an intact database that cannot be opened here is refused without advice about damage', async () => {
  await withMount({}, async ({ dir, db, scratch }) => {
    await writeFile(join(dir, 'file'), 'content')
    expect(await runZblkfs('sync', dir)).toMatchObject({ exitCode: 0 })
    const linked = join(scratch, 'linked.zblk')
    await link(db, linked)
    const { exitCode, stderr } = await runZblkfs('fsck', linked)
    expect(stderr).toContain('read it under that name, or unmount it there first')
    expect(stderr).not.toContain('.recover')
    expect(exitCode).toBe(2)
  })
})

test('a copy that lacks its newest transactions is not called clean', async () => {
  await withMount({}, async ({ dir, db, scratch }) => {
    await writeFile(join(dir, 'file'), 'content')
    expect(await runZblkfs('sync', dir)).toMatchObject({ exitCode: 0 })
    const copy = join(scratch, 'copy.zblk')
    await copyFile(db, copy)
    for (const options of [[], ['--data']]) {
      const { exitCode, stdout, stderr } = await runZblkfs('fsck', ...options, copy)
      expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: '' })
      expect(stderr).toMatch(/is incomplete: it was copied while in use.*zblkfs backup/)
    }
  })
})

test('repeated checks beside writers and packs of all history find nothing', async () => {
  await withMount({ options: ['commit_interval=20ms'] }, async ({ dir }) => {
    for (let i = 0; i < 600; i++) await writeFile(join(dir, `file ${i}`), `content ${i}`)
    const ended = new AbortController()
    const until = async (work: (round: number) => Promise<unknown>): Promise<void> => {
      for (let round = 0; !ended.signal.aborted; round++) await work(round)
    }
    const beside = Promise.all([
      until(round => writeFile(join(dir, `file ${(round * 7) % 600}`), `content of round ${round}`)),
      until(() => runZblkfs('pack', '--keep', '0', dir)),
    ])
    try {
      for (let i = 0; i < 6; i++) {
        const result = await runZblkfs('fsck', '--data', dir)
        expect(result, result.stdout).toMatchObject({ exitCode: 0, stderr: '' })
      }
    } finally {
      ended.abort()
      await beside
    }
  })
})
