import { execFileSync } from 'node:child_process'
import { chmodSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { classOfRecord } from '../../core/objects/record.ts'
import { formatTid } from '../../store/ids.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import { readFileStorage } from '../tools/file-storage-reader.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { openPaths } from '../tools/temporary-database.ts'
import { DATABASES, difference } from './manifest.ts'

/** Runs the command; fails the test where it fails. */
async function zblkfs(...parameters: readonly string[]): Promise<string> {
  const { exitCode, stderr, stdout } = await runZblkfs(...parameters)
  expect(stderr).toBe('')
  expect(exitCode).toBe(0)
  return stdout
}

async function failure(...parameters: readonly string[]): Promise<string> {
  const { exitCode, stderr } = await runZblkfs(...parameters)
  expect(exitCode).toBeGreaterThan(0)
  return stderr
}

/** A database with some history of its own, closed. */
async function makeDatabase(): Promise<string> {
  const path = join(temporaryDirectory(), 'db')
  const paths = await openPaths(path)
  await paths.mkdir('d')
  await paths.write('d/a', 'some text')
  await paths.fs.sync('grüße')
  await paths.write('big', Buffer.alloc(5 << 20, 'abc'))
  await paths.fs.sync()
  for (let i = 0; i < 50; i++) await paths.write('big', `change ${i}`, BigInt(i) * 70_001n)
  await paths.symlink('d/a', 'link')
  await paths.fs.sync()
  await paths.unlink('d/a')
  await paths.fs.sync()
  await paths.fs.close()
  return path
}

async function tidsOf(path: string): Promise<string[]> {
  const store = await openSqliteStore(path, { readOnly: true })
  try {
    const tids: string[] = []
    for await (const { tid } of store.transactions()) tids.push(formatTid(tid))
    return tids
  } finally {
    await store.close()
  }
}

describe('an export', () => {
  it('has the permissions of its database, reduced by the umask', async () => {
    const db = await makeDatabase()
    for (const mode of [0o600, 0o640, 0o700]) {
      chmodSync(db, mode)
      const file = join(temporaryDirectory(), 'Data.fs')
      await zblkfs('export', db, file)
      expect(statSync(file).mode & 0o777).toBe(mode & 0o666 & ~process.umask())
    }
  })

  it('does not follow a link in place of its temporary file, and refuses a FIFO in place of the lock', async () => {
    const db = await makeDatabase()
    const directory = temporaryDirectory()
    const file = join(directory, 'Data.fs')
    const victim = join(directory, 'victim')
    writeFileSync(victim, 'keep me')
    symlinkSync(victim, `${file}.part`)
    const exported = await zblkfs('export', db, file)
    expect(readFileSync(victim, 'utf8')).toBe('keep me')
    execFileSync('mkfifo', [`${file}.lock`])
    const last = /transaction ([0-9a-f]{16})/.exec(exported)![1]!
    expect(await failure('export', '--from', last, db, file)).toMatch(
      /Data\.fs cannot be locked: .*Data\.fs\.lock is not a regular file/,
    )
  })

  it('has every record of every transaction, as read by an independent reader', async () => {
    const db = await makeDatabase()
    const file = join(temporaryDirectory(), 'Data.fs')
    expect(await zblkfs('export', db, file)).toMatch(/^exported \d+ transactions, \d+ records; /)
    const store = await openSqliteStore(db, { readOnly: true })
    onTestFinished(() => store.close())
    const transactions = store.transactions()[Symbol.asyncIterator]()
    let records = 0
    for (const exported of readFileStorage(file)) {
      const { value: info } = await transactions.next()
      expect(exported.tid).toBe(info.tid)
      expect(String(exported.description)).toBe(info.description)
      const oids = []
      for await (const set of store.changes((info.tid - 1n) as never, info.tid)) oids.push(...set.oids)
      expect(new Set(exported.records.map(({ oid }) => Number(oid)))).toEqual(new Set(oids))
      expect(exported.records).toHaveLength(oids.length)
      for (const { oid, data } of exported.records) {
        const [revision] = await store.load([Number(oid) as never], info.tid)
        expect(Buffer.from(revision!.record).equals(data!)).toBe(true)
        records++
      }
    }
    expect((await transactions.next()).done).toBe(true)
    expect(records).toBeGreaterThan(100)
  })

  it('has the same framing as a file written by ZODB', async () => {
    const file = join(temporaryDirectory(), 'Data.fs')
    const db = await makeDatabase()
    await zblkfs('export', db, file)
    const walker = join(import.meta.dirname, '../tools/zodb-framing.py')
    const walked = JSON.parse(
      execFileSync('/usr/bin/python3', [walker, file], { encoding: 'utf8', maxBuffer: 64 << 20 }),
    ) as { tid: string }[]
    expect(walked.map(({ tid }) => tid)).toEqual(await tidsOf(db))
  })

  it('made incrementally equals one made at once', async () => {
    const db = await makeDatabase()
    const directory = temporaryDirectory()
    const [early, grown, whole] = ['early', 'grown', 'whole'].map(name => join(directory, name)) as [
      string,
      string,
      string,
    ]
    await zblkfs('export', db, early)
    const end = (await tidsOf(db)).at(-1)!
    const paths = await openPaths(db)
    await paths.write('more', 'text')
    await paths.fs.sync()
    await paths.write('big', 'yet more', 3_000_000n)
    await paths.fs.close()
    writeFileSync(grown, readFileSync(early))
    expect(await zblkfs('export', db, grown, '--from', end)).toContain('exported 2 transactions')
    await zblkfs('export', db, whole)
    expect(readFileSync(grown).equals(readFileSync(whole))).toBe(true)
    expect(await failure('export', db, grown, '--from', end)).toMatch(
      /ends with transaction .*append with --from/,
    )
    expect(statSync(grown).size).toBe(statSync(whole).size)
  })

  it('restored has the same tree, and accepts new transactions', async () => {
    const db = await makeDatabase()
    const directory = temporaryDirectory()
    const [exported, again] = ['Data.fs', 'again'].map(name => join(directory, name)) as [string, string]
    await zblkfs('export', db, exported)
    await zblkfs('import', exported, again)
    // Once more is the same as gone on after an interruption at the very end.
    expect(await zblkfs('import', exported, again)).toContain('all are the same')
    const [before, after] = [await openPaths(db), await openPaths(again)]
    expect(await after.list('')).toEqual(['big', 'd', 'link'])
    expect(await after.list('d')).toEqual([])
    expect(await after.stat('big')).toEqual(await before.stat('big'))
    expect((await after.read('big')).equals(await before.read('big'))).toBe(true)
    await after.write('new', 'text')
    await after.fs.sync()
    expect(String(await after.read('new'))).toBe('text')
    await after.fs.close()
    expect(await failure('import', exported, again)).toContain('can only be restored whole')
    expect(await failure('import', exported, `${again}-2`, '--into', 'x')).toContain('leave out --into')
  })

  it('replaces no file, and reports the reason', async () => {
    const db = await makeDatabase()
    const file = join(temporaryDirectory(), 'Data.fs')
    writeFileSync(file, 'precious')
    expect(await failure('export', db, file)).toContain('exists already')
    expect(readFileSync(file, 'utf8')).toBe('precious')
    expect(await failure('export', db, file, '--from', '0000000000000001')).toContain('has no transaction')
    expect(await failure('export', db, file, '--from', 'yesterday')).toContain('16 hex digits')
    expect(await failure('export', DATABASES[0]!.path, file)).toContain('is a ZODB database already')
    expect(await failure('import', db, `${db}-2`)).toContain('is a zblkfs database')
    expect(await failure('import', DATABASES[0]!.path, file)).toContain('is not a zblkfs database')
  })

  it('truncates texts too long for a FileStorage, with a warning', async () => {
    const db = join(temporaryDirectory(), 'db')
    const paths = await openPaths(db)
    await paths.write('a', 'text')
    await paths.fs.sync('ü'.repeat(40_000))
    await paths.fs.close()
    const file = join(temporaryDirectory(), 'Data.fs')
    const { exitCode, stderr } = await runZblkfs('export', db, file)
    expect(exitCode).toBe(0)
    expect(stderr).toContain('its description of 80000 bytes is cut at 65535')
    const descriptions = [...readFileStorage(file)].map(({ description }) => String(description))
    expect(descriptions).toContain('ü'.repeat(32_767))
  })
})

describe.each(DATABASES)('$name, imported, exported and imported again', ({ path, missing, manifest }) => {
  it.skipIf(missing)('has every file as it was at every transaction', async () => {
    const { files, txns } = manifest()
    const directory = temporaryDirectory()
    const [db, exported, again] = ['db', 'Data.fs', 'again'].map(name => join(directory, name)) as [
      string,
      string,
      string,
    ]
    await zblkfs('import', path, db, '--history')
    await zblkfs('export', db, exported)
    expect(await zblkfs('import', exported, again)).toContain('restored')
    expect(await tidsOf(again)).toEqual(await tidsOf(db))
    const paths = await openPaths(again)
    for (const { tid, files: states } of txns)
      for (const [name, state] of Object.entries(states)) {
        const bytes = await paths.read(`@${tid}/${name}`)
        expect(difference(bytes, state, files[name]!.blksize), `${name} at ${tid}`).toBeUndefined()
      }
  })

  it.skipIf(missing)('keeps the number of objects that a file is made of', async () => {
    const directory = temporaryDirectory()
    const [db, exported] = ['db', 'Data.fs'].map(name => join(directory, name)) as [string, string]
    await zblkfs('import', path, db)
    await zblkfs('export', db, exported)
    const counts = new Map<string, number>()
    for (const { records } of readFileStorage(exported))
      for (const { data } of records) {
        const className = classOfRecord(data!)
        counts.set(className, (counts.get(className) ?? 0) + 1)
      }
    const expected = Object.values(manifest().txns.at(-1)!.files)
    const blocks = expected.flatMap(file => file.blocks)
    const zblk0 = blocks.filter(({ kind }) => kind === 'ZBlk0').length
    const zblk1 = blocks.length - zblk0
    expect(counts.get('wendelin.bigfile.file_zodb.ZBlk0')).toBe(zblk0)
    expect(counts.get('wendelin.bigfile.file_zodb.ZBlk1')).toBe(zblk1)
    expect(counts.get('BTrees.IOBTree.IOBTree')).toBe(zblk1)
    expect(counts.get('wendelin.bigfile.file_zodb.ZBigFile')).toBe(expected.length)
  })
})
