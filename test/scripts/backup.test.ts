/** `zblkfs backup`: verified streams in a directory, from which `zblkfs receive` restores. */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { backUp } from '../../core/stream/backup.ts'
import { open, type Database } from '../../index.ts'
import { openDatabase } from '../../store/open-store.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

async function fresh(): Promise<Database> {
  const db = await open(temporaryDatabase(), { create: true })
  onTestFinished(() => db.close().catch(() => undefined))
  return db
}

const streamsOf = (directory: string): readonly string[] =>
  readdirSync(directory)
    .filter(name => name.endsWith('.zstream'))
    .toSorted()

test('of a mount is incremental, verified, and restored', async () => {
  await withMount({}, async ({ dir, scratch, db }) => {
    const target = join(scratch, 'backup')
    await writeFile(join(dir, 'big'), Buffer.alloc(3 << 20, 5))
    const first = await runZblkfs('backup', dir, target)
    expect(first.stdout).toMatch(/^backed up and verified 3\.\d MiB in \d+ transactions, 1 file; /)
    expect((await runZblkfs('backup', dir, target)).stdout).toMatch(/^nothing has changed; /)
    await writeFile(join(dir, 'small'), 'x')
    const { tid, bytes } = JSON.parse((await runZblkfs('backup', dir, target, '--json')).stdout) as {
      readonly tid: string
      readonly bytes: number
    }
    expect(bytes).toBeLessThan(10_000)
    expect(streamsOf(target)).toHaveLength(2)
    expect((await runZblkfs('backup', dir, target, '--verify')).stdout).toContain('verified all 3')
    const restored = join(scratch, 'restored.zblk')
    expect((await runZblkfs('receive', restored, target)).stdout).toContain(tid)
    const copy = await open(restored, { readOnly: true })
    expect(await copy.files.readFile('/small', 'utf8')).toBe('x')
    await copy.close()

    const file = join(target, streamsOf(target)[0]!)
    const stream = await readFile(file)
    stream[stream.length >> 1]! ^= 1
    await writeFile(file, stream)
    const damaged = await runZblkfs('backup', dir, target, '--verify')
    expect(damaged).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('a checksum differs') })
    await rename(file, join(scratch, 'away'))
    const missing = await runZblkfs('backup', dir, target)
    expect(missing).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('lacks a file') })
    expect((await runZblkfs('backup', dir, target, '--full')).exitCode).toBe(0)
    expect((await runZblkfs('backup', db, target)).stdout).toMatch(/^nothing has changed/)
  })
})

test('starts afresh when a pack has dropped its last transaction', async () => {
  const db = await fresh()
  const target = `${db.name}-backup`
  await db.files.writeFile('/a', '0')
  await db.sync()
  await db.files.writeFile('/a', '1')
  await db.sync()
  await db.backup(target)
  await db.files.writeFile('/a', '2')
  await db.close()
  await runZblkfs('pack', '--keep', '0', db.name)
  const dropped = await runZblkfs('backup', db.name, target)
  expect(dropped.stdout).toMatch(/^a pack has dropped the last transaction .*\nbacked up and verified/)
  const restored = temporaryDatabase()
  expect((await runZblkfs('receive', restored, target)).exitCode).toBe(0)
  const copy = await open(restored, { readOnly: true })
  expect(await copy.files.readFile('/a', 'utf8')).toBe('2')
  await copy.close()
})

test('refuses the directory of another database, and a second backup beside it', async () => {
  const [one, other] = [await fresh(), await fresh()]
  const target = `${one.name}-backup`
  await one.backup(target)
  await expect(other.backup(target)).rejects.toMatchObject({ code: 'other-backup' })
  expect((await runZblkfs('backup', other.name, target)).stderr).toContain(
    'has the backup of another database: name another directory\n',
  )
  await writeFile(join(target, 'lock'), 'another-host 1\n')
  await expect(one.backup(target)).rejects.toMatchObject({ code: 'backup-running' })
  await writeFile(join(target, 'lock'), '')
  await expect(one.backup(join(target, 'no', 'parent'))).rejects.toThrow('cannot be created')
})

test('a restore names the damaged file', async () => {
  const db = await fresh()
  const target = `${db.name}-backup`
  await db.files.writeFile('/a', 'one')
  await db.backup(target)
  const file = join(target, streamsOf(target)[0]!)
  const bytes = await readFile(file)
  bytes[bytes.length >> 1]! ^= 1
  await writeFile(file, bytes)
  const { stderr, exitCode } = await runZblkfs('receive', temporaryDatabase(), target)
  expect(stderr).toContain(`${file}: this is not a sound stream`)
  expect(exitCode).toBe(1)
})

test('the lock that another backup has made in place of a stale one stays', async () => {
  const db = await fresh()
  const target = `${db.name}-backup`
  await db.backup(target)
  const lock = join(target, 'lock')
  const { pid } = spawnSync('true')
  const other = `${hostname()} ${process.pid}\n`
  await writeFile(lock, `${hostname()} ${pid}\n`)
  const kill = process.kill.bind(process)
  const spy = vi.spyOn(process, 'kill').mockImplementation((asked, signal) => {
    if (asked === pid) {
      rmSync(lock)
      writeFileSync(lock, other)
    }
    return kill(asked, signal)
  })
  onTestFinished(() => spy.mockRestore())
  await expect(db.backup(target)).rejects.toMatchObject({ code: 'backup-running' })
  expect(await readFile(lock, 'utf8')).toBe(other)
})

test('of a long history makes several files, each of whole transactions', async () => {
  const db = await fresh()
  const target = `${db.name}-backup`
  for (let i = 0; i < 10; i++) {
    await db.files.writeFile(`/file-${i}`, Buffer.alloc(100_000, i))
    await db.sync()
  }
  const store = await openDatabase(db.name, { readOnly: true })
  const { files, transactions } = await backUp(store, target, { fileBytes: 250_000 })
  await store.close()
  expect(files.length).toBeGreaterThan(2)
  expect(transactions).toBeGreaterThanOrEqual(10)
  expect(existsSync(join(target, 'partial'))).toBe(false)
  const restored = temporaryDatabase()
  await runZblkfs('receive', restored, target)
  const copy = await open(restored, { readOnly: true })
  expect((await copy.files.readFile('/file-9')).equals(Buffer.alloc(100_000, 9))).toBe(true)
  await copy.close()
})
