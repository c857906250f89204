import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { runProgram, runZblkfs } from '../../tools/run-zblkfs.ts'
import { readFileStorage } from '../../tools/file-storage-reader.ts'
import { PreservingDatabase } from '../../store/relstorage/database.ts'
import { DATABASES, difference, type ManifestFile } from '../../zodb/manifest.ts'
import { temporaryDirectory } from './foreign-paths.ts'

const tiny = DATABASES[0]!
const { files, txns } = tiny.manifest()

/** Mounts a database with the real command; unmounted when the test is over. */
async function mounted(database: string, driver: string): Promise<string> {
  const dir = join(temporaryDirectory(), 'mnt')
  mkdirSync(dir)
  onTestFinished(async () => {
    await runZblkfs('umount', dir)
    await runProgram('umount', ['-l', dir])
  })
  const { exitCode, stderr } = await runZblkfs('mount', '-o', `driver=${driver}`, database, dir)
  expect(stderr).toBe('')
  expect(exitCode).toBe(0)
  return dir
}

async function expectFiles(directory: string, states: Readonly<Record<string, ManifestFile>>): Promise<void> {
  for (const [name, state] of Object.entries(states))
    expect(
      difference(await readFile(join(directory, name)), state, files[name]!.blksize),
      name,
    ).toBeUndefined()
}

const hasGetfattr = ((): boolean => {
  try {
    execFileSync('getfattr', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

describe.each(['kernel', 'fuse-native'])('mounted by the command with the %s driver', driver => {
  it('a FileStorage is mounted read-only', async () => {
    const dir = await mounted(tiny.path, driver)
    expect((await readdir(dir)).sort()).toEqual(['bigfile', 'root'])
    expect((await readdir(join(dir, 'root'))).sort()).toEqual(['A', 'B', 'C'])
    await expectFiles(join(dir, 'root'), txns.at(-1)!.files)
    for (const { tid, files } of txns) await expectFiles(join(dir, `@${tid}`, 'root'), files)
    expect(readFileSync(join(dir, '.zblkfs', 'at'), 'utf8')).toBe(`${txns.at(-1)!.tid}\n`)
    await expect(writeFile(join(dir, 'root', 'A'), 'x')).rejects.toThrow('EROFS')
    await expect(writeFile(join(dir, 'new'), 'x')).rejects.toThrow('EROFS')
    const status = JSON.parse((await runZblkfs('status', '--json')).stdout) as Record<string, unknown>[]
    expect(status.find(({ directory }) => directory === dir)).toMatchObject({
      state: 'serving',
      readOnly: true,
      tid: txns.at(-1)!.tid,
    })
    if (hasGetfattr) {
      const path = join(dir, 'root', 'C')
      const value = execFileSync(
        'getfattr',
        ['--absolute-names', '-n', 'user.zblkfs.blksize', '--only-values', path],
        {
          encoding: 'utf8',
        },
      )
      expect(value).toBe('8192')
    }
  })

  it('a RelStorage database is mounted read-only', async () => {
    const path = join(temporaryDirectory(), 'main.sqlite3')
    const history = [...readFileStorage(tiny.path)].map(({ tid, extension, records }) => ({
      tid: tid as never,
      user: '',
      description: '',
      extension,
      records: new Map(records.map(({ oid, data }) => [Number(oid) as never, data])),
    }))
    const { db } = new PreservingDatabase(path).add(history)
    onTestFinished(() => void db.close())
    const dir = await mounted(`relstorage:${path}`, driver)
    await expectFiles(join(dir, 'root'), txns.at(-1)!.files)
    await expectFiles(join(dir, `@${txns[1]!.tid}`, 'root'), txns[1]!.files)
  })
})

describe('a mount of a FileStorage that grows', () => {
  it('shows appended transactions, also in pages cached by the kernel', async () => {
    const bytes = readFileSync(tiny.path)
    const path = join(temporaryDirectory(), 'Data.fs')
    const ends: number[] = []
    for (let pos = 4; pos < bytes.length;) ends.push((pos += Number(bytes.readBigUInt64BE(pos + 8)) + 8))
    const first = ends.length - txns.length
    writeFileSync(path, bytes.subarray(0, ends[first]))
    const dir = await mounted(path, 'kernel')
    await expectFiles(join(dir, 'root'), txns[0]!.files)
    for (let i = 1; i < txns.length; i++) {
      appendFileSync(path, bytes.subarray(ends[first + i - 1], ends[first + i]))
      // Reading this moves the mount on; the kernel's invalidations are sent by then, but may still be in progress.
      expect(readFileSync(join(dir, '.zblkfs', 'at'), 'utf8')).toBe(`${txns[i]!.tid}\n`)
      for (const [name, state] of Object.entries(txns[i]!.files))
        await expect
          .poll(() => difference(readFileSync(join(dir, 'root', name)), state, files[name]!.blksize), {
            timeout: 10_000,
          })
          .toBeUndefined()
    }
    expect(statSync(join(dir, 'root', 'B')).size).toBe(txns.at(-1)!.files['B']!.size)
  })
})
