/** `zblkfs branch` and `-o branch=`, typed as a user would. */
import { existsSync } from 'node:fs'
import {
  appendFile,
  mkdir,
  open as openFile,
  readdir,
  readFile,
  rename,
  rm,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { open } from '../../index.ts'
import { branchPath } from '../../store/branches.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs, zblkfsOutput } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

/** Bytes that differ everywhere. */
const noise = (length: number, seed: number): Buffer =>
  Buffer.from(Uint32Array.from({ length: length / 4 }, (_, i) => Math.imul(i + seed, 0x9e37_79b1)).buffer)

test('a branch is mounted beside its database, survives a kill, and keeps its base', async () => {
  await withMount({}, async main => {
    const big = noise(6 << 20, 1)
    await writeFile(join(main.dir, 'big'), big)
    await writeFile(join(main.dir, 'text'), 'one')
    await writeFile(join(main.dir, 'gone'), 'gone')
    await zblkfsOutput('sync', main.dir)
    expect(await zblkfsOutput('branch', main.dir, 'trial')).toMatch(
      /^the branch trial begins at [0-9a-f]{16}\n$/,
    )
    const [listed] = (await zblkfsOutput('branch', main.dir, '--json')).trimEnd().split('\n')
    const { path, base } = JSON.parse(listed!) as { readonly path: string; readonly base: string }
    expect(path).toBe(branchPath(main.db, 'trial'))
    await withMount({ db: main.db, options: ['branch=trial'] }, async trial => {
      expect((await readdir(trial.dir)).sort()).toEqual(['big', 'gone', 'text'])
      expect(big.equals(await readFile(join(trial.dir, 'big')))).toBe(true)
      await writeFile(join(trial.dir, 'text'), 'trial')
      await unlink(join(trial.dir, 'gone'))
      await rename(join(trial.dir, 'big'), join(trial.dir, 'huge'))
      await writeFile(join(main.dir, 'text'), 'main')
      await writeFile(join(main.dir, 'later'), 'later')
      // What is synced stays, as in any mount.
      const file = await openFile(join(trial.dir, 'huge'), 'r+')
      await file.write(noise(8192, 2), 0, 8192, 3_000_000)
      await file.sync()
      await file.close()
      await trial.kill()
      await trial.remount()
      expect((await readdir(trial.dir)).sort()).toEqual(['huge', 'text'])
      const huge = Buffer.from(big)
      noise(8192, 2).copy(huge, 3_000_000)
      expect(huge.equals(await readFile(join(trial.dir, 'huge')))).toBe(true)
      expect(await readFile(join(main.dir, 'text'), 'utf8')).toBe('main')
      expect(big.equals(await readFile(join(main.dir, 'big')))).toBe(true)
      // A pack of the database keeps what the branch shows, also after everything in it was replaced.
      await truncate(join(main.dir, 'big'), 0)
      await rm(join(main.dir, 'gone'))
      await zblkfsOutput('sync', main.dir)
      await zblkfsOutput('pack', main.dir, '--keep', '0')
      expect(huge.equals(await readFile(join(trial.dir, 'huge')))).toBe(true)
      expect(await readFile(join(trial.dir, `@${base}`, 'gone'), 'utf8')).toBe('gone')
      const { stderr: busy, exitCode } = await runZblkfs('branch', main.dir, '-d', 'trial')
      expect(busy).toContain('trial.zblk')
      expect(exitCode).toBe(1)
      await appendFile(join(trial.dir, 'text'), '!')
      await zblkfsOutput('sync', trial.dir)
    })
    const fsck = await runZblkfs('fsck', '--data', path)
    expect(fsck.stdout).toContain('is clean')
    expect(await zblkfsOutput('cat', path, 'text')).toBe('trial!')
    const diff = await zblkfsOutput('diff', base, 'now', '--db', path)
    expect(diff).toContain('big')
    expect(await zblkfsOutput('log', path, '--oneline')).toContain(`branch trial at ${base}`)
    expect(await zblkfsOutput('df', path)).toContain(`a branch of ${main.db}`)
    for (const refused of [
      ['pack', path],
      ['history', path],
    ])
      expect((await runZblkfs(...refused)).exitCode, refused.join(' ')).toBe(1)
    expect((await runZblkfs('fsck', '--repair', path)).stderr).toContain('cannot be repaired')
    for (const action of [
      ['-d', 'branch:trial'],
      ['branch:trial', '--release'],
    ])
      expect((await runZblkfs('tag', ...action, '--db', main.dir)).stderr).toContain(
        "begins: delete the branch with 'zblkfs branch DB --delete trial'",
      )
    expect((await runZblkfs('branch', `${main.db}.no`)).stderr).toContain('does not exist')
    expect((await runZblkfs('branch', main.dir, 'trial')).stderr).toContain('has a branch trial already')
    expect(await zblkfsOutput('branch', main.dir, '-d', 'trial')).toBe('the branch trial is deleted\n')
    expect(await zblkfsOutput('branch', main.dir)).toBe('')
    expect(await zblkfsOutput('tag', '-l', '--db', main.dir)).toBe('')
    expect(existsSync(path)).toBe(false)
    expect((await runZblkfs('branch', main.dir, '-d', 'trial')).stderr).toContain('has no branch trial')
    const directory = join(main.scratch, 'other')
    await mkdir(directory)
    const missing = await runZblkfs('mount', main.db, directory, '-o', 'branch=trial')
    expect(missing.stderr).toContain('has no branch trial')
  })
})

test('a branch begins in the past, takes little room, and is a database for programs', async () => {
  await withMount({}, async main => {
    await writeFile(join(main.dir, 'a'), noise(4 << 20, 3))
    await zblkfsOutput('sync', main.dir, '-m', 'before')
    await zblkfsOutput('tag', 'v1', '--db', main.dir)
    await unlink(join(main.dir, 'a'))
    await zblkfsOutput('sync', main.dir)
    await main.unmount()
    const begin = (await zblkfsOutput('branch', main.db, 'old', '--at', 'v1')).trim().slice(-16)
    const path = branchPath(main.db, 'old')
    const { fileBytes } = JSON.parse(await zblkfsOutput('df', path, '--json')) as {
      readonly fileBytes: number
    }
    expect(fileBytes).toBeLessThan(100_000)
    const db = await open(path)
    expect(noise(4 << 20, 3).equals(await db.files.readFile('/a'))).toBe(true)
    // A clone shares nothing with the base, and is whole.
    await db.clone('/a', '/b')
    await db.files.unlink('/a')
    const message = 'cloned'
    await db.sync(message)
    expect(noise(4 << 20, 3).equals(await db.files.readFile('/b'))).toBe(true)
    expect(await db.at(begin).readdir('/')).toEqual(['a'])
    await db.close()
    expect((await runZblkfs('fsck', '--data', path)).stdout).toContain('is clean')
    expect((await runZblkfs('fsck', '--data', main.db)).stdout).toContain('is clean')
    // A copy of the database has the tag, not the branch.
    expect((await runZblkfs('branch', main.db, 'x', '--at', '2020-01-01')).stderr).toContain('no moment')
    expect(await zblkfsOutput('branch', main.db)).not.toContain('x.zblk')
  })
})

test('a branch of a branch is mounted, listed, merged and deleted', async () => {
  await withMount({}, async main => {
    await writeFile(join(main.dir, 'big'), noise(3 << 20, 7))
    await writeFile(join(main.dir, 'text'), 'one')
    await zblkfsOutput('branch', main.dir, 'other')
    await zblkfsOutput('branch', main.dir, 'outer')
    const names = async (): Promise<readonly string[]> =>
      (await zblkfsOutput('branch', main.dir)).split('\n').flatMap(line => line.split(' ')[0] || [])
    await withMount({ db: main.db, options: ['branch=outer'] }, async outer => {
      await writeFile(join(outer.dir, 'text'), 'outer')
      // By the mount of the branch, and by the name under the database; a name may be that of a branch of the database.
      await zblkfsOutput('branch', outer.dir, 'other')
      await zblkfsOutput('branch', main.dir, 'outer/inner')
      expect(await names()).toEqual(['other', 'outer', 'outer/inner', 'outer/other'])
      await withMount({ db: main.db, options: ['branch=outer/inner'] }, async inner => {
        expect(await readFile(join(inner.dir, 'text'), 'utf8')).toBe('outer')
        expect(noise(3 << 20, 7).equals(await readFile(join(inner.dir, 'big')))).toBe(true)
        const file = await openFile(join(inner.dir, 'big'), 'r+')
        await file.write(Buffer.alloc(4096, 'i'), 0, 4096, 8192)
        await file.close()
        await writeFile(join(inner.dir, 'new'), 'inner')
        await writeFile(join(outer.dir, 'text'), 'outer again')
        expect(await zblkfsOutput('merge', main.dir, 'outer/inner')).toContain('A  new')
      })
      const expected = noise(3 << 20, 7)
      expected.fill('i', 8192, 12_288)
      expect(expected.equals(await readFile(join(outer.dir, 'big')))).toBe(true)
      expect(await readFile(join(outer.dir, 'text'), 'utf8')).toBe('outer again')
      expect(existsSync(join(main.dir, 'new'))).toBe(false)
      await zblkfsOutput('merge', main.dir, 'outer')
      expect(await readFile(join(main.dir, 'new'), 'utf8')).toBe('inner')
      expect(expected.equals(await readFile(join(main.dir, 'big')))).toBe(true)
    })
    const path = branchPath(branchPath(main.db, 'outer'), 'inner')
    expect((await runZblkfs('fsck', '--data', path)).stdout).toContain('is clean')
    expect((await runZblkfs('branch', main.dir, 'outer/none', '--at', '2020-01-01')).stderr).toContain(
      'no moment',
    )
    const { stderr } = await runZblkfs('branch', main.dir, '-d', 'outer')
    expect(stderr).toContain('has branches: inner, other: delete these first')
    await zblkfsOutput('branch', main.dir, '-d', 'outer/other')
    await zblkfsOutput('branch', main.dir, '-d', 'outer/inner')
    await zblkfsOutput('branch', main.dir, '-d', 'outer')
    expect(await names()).toEqual(['other'])
    expect(await zblkfsOutput('tag', '-l', '--db', main.dir)).not.toContain('outer')
  })
})

test('a branch is merged while both are mounted', async () => {
  await withMount({}, async main => {
    const base = noise(1 << 20, 5)
    await writeFile(join(main.dir, 'both'), base)
    await writeFile(join(main.dir, 'clash'), 'one')
    await zblkfsOutput('branch', main.dir, 'work')
    await withMount({ db: main.db, options: ['branch=work'] }, async work => {
      const patched = async (dir: string, at: number): Promise<void> => {
        const file = await openFile(join(dir, 'both'), 'r+')
        await file.write(Buffer.alloc(4096, 'p'), 0, 4096, at)
        await file.close()
      }
      await patched(main.dir, 8192)
      await patched(work.dir, 16_384)
      await writeFile(join(main.dir, 'clash'), 'main')
      await writeFile(join(work.dir, 'clash'), 'work')
      await writeFile(join(work.dir, 'new'), 'new')
      const dry = await runZblkfs('merge', main.dir, 'work', '--dry-run', '--json')
      expect(dry.exitCode).toBe(1)
      const lines = dry.stdout
        .trimEnd()
        .split('\n')
        .map(line => JSON.parse(line) as object)
      expect(lines).toContainEqual({ kind: 'change', path: 'both' })
      expect(lines).toContainEqual(expect.objectContaining({ kind: 'conflict', path: 'clash' }))
      expect(existsSync(join(main.dir, 'new'))).toBe(false)
      const { stdout, exitCode } = await runZblkfs('merge', main.dir, 'work')
      expect(stdout).toContain('C  clash: ')
      expect(exitCode).toBe(1)
      const expected = Buffer.from(base)
      for (const at of [8192, 16_384]) expected.fill('p', at, at + 4096)
      // The kernel's caches show the merge.
      expect(expected.equals(await readFile(join(main.dir, 'both')))).toBe(true)
      expect(await readFile(join(main.dir, 'new'), 'utf8')).toBe('new')
      expect(await readFile(join(main.dir, 'clash'), 'utf8')).toBe('main')
      expect((await runZblkfs('merge', main.dir, 'work', '--resolved')).exitCode).toBe(0)
      expect(await zblkfsOutput('merge', main.dir, 'work')).toBe('there is nothing to merge\n')
      expect((await runZblkfs('merge', main.dir, 'work', '-n', '--resolved')).exitCode).toBe(2)
    })
    const log = await zblkfsOutput('log', main.dir, '--grep', '^merge branch', '--oneline')
    await zblkfsOutput('undo', log.slice(0, 16), '--db', main.dir)
    expect(existsSync(join(main.dir, 'new'))).toBe(false)
  })
})

test('a branch is copied into a database of its own, and what it cannot do is refused', async () => {
  const path = temporaryDatabase()
  const db = await open(path, { create: true })
  await db.files.writeFile('/a', 'base')
  await db.close()
  await zblkfsOutput('branch', path, 'b')
  const file = branchPath(path, 'b')
  const branch = await open(file)
  await branch.files.writeFile('/b', 'branch')
  await branch.close()
  for (const args of [
    ['pack', file],
    ['pack', file, '--dry-run'],
    ['history', file],
    ['history', file, '--keep', '7d'],
    ['fsck', '--repair', file],
  ]) {
    const { stderr, exitCode } = await runZblkfs(...args)
    expect(stderr, args.join(' ')).toContain(`is a branch`)
    expect(stderr, args.join(' ')).toContain("'zblkfs copy BRANCH NEW' makes a database of it")
    expect(exitCode).toBeGreaterThan(0)
  }
  const copy = `${path}-copy`
  expect(await zblkfsOutput('copy', file, copy)).toContain('all are the same')
  expect(await zblkfsOutput('cat', copy, 'a')).toBe('base')
  expect(await zblkfsOutput('cat', copy, 'b')).toBe('branch')
  expect((await runZblkfs('pack', copy, '--keep', '0')).stdout).toContain('freed')
  expect(await zblkfsOutput('fsck', '--data', copy)).toContain('is clean')
  expect(await zblkfsOutput('send', file, '--dry-run')).toMatch(/ in \d+ transactions?, /)
})

test('branches of a database on a server are refused, with the way to have them', async () => {
  const url = 'postgres://user@127.0.0.1:1/none'
  for (const args of [
    ['branch', url, 'b'],
    ['branch', url, '-d', 'b'],
    ['merge', url, 'b'],
    ['mount', url, dirname(temporaryDatabase()), '-o', 'branch=b'],
  ]) {
    const { stderr, exitCode } = await runZblkfs(...args)
    expect(stderr, args.join(' ')).toContain(
      "is on a server, and cannot have branches: branch a copy of it in a file ('zblkfs copy')",
    )
    expect(exitCode).toBeGreaterThan(0)
  }
})
