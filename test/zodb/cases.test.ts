import { randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import { describe, expect, it, onTestFinished } from 'vitest'
import { importDatabase } from '../../core/foreign/import/import-database.ts'
import { formatTid, oid, parseTid } from '../../store/ids.ts'
import { historyFree } from '../store/relstorage/database.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { foreignPaths, temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import * as made from '../mount/zodb/hand-made.ts'
import { readFileStorage } from '../tools/file-storage-reader.ts'
import type { Paths } from '../tools/paths.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { openPaths } from '../tools/temporary-database.ts'
import { HandFile } from '../tools/zodb-file.ts'
import { caseFile, CASES, historyOf, STORES } from './cases.ts'

const BLKSIZE = 4096

/** Compares `f` with what it is to be; '!' is a block that cannot be read. */
async function expectBlocks(paths: Paths, path: string, blocks: string): Promise<void> {
  expect((await paths.stat(path)).size, path).toBe(BigInt(blocks.length * BLKSIZE))
  const opened = await paths.open(path, 0)
  for (const [blk, letter] of blocks.split('').entries()) {
    const read = paths.fs.read(opened.ino, opened.fh, BigInt(blk * BLKSIZE), BLKSIZE)
    const what = `${path}, block ${blk}`
    if (letter === '!') await expect(read, what).rejects.toThrow('does not exist')
    else expect(Buffer.concat(await read).equals(Buffer.alloc(BLKSIZE, letter)), what).toBe(true)
  }
  await paths.close(opened)
}

describe.each(STORES)('of a $kind', ({ make, open }) => {
  describe.each(CASES)('$name:', ({ name, states, absent }) => {
    it('the mount shows each transaction correctly', async () => {
      const paths = await foreignPaths(await open(make(caseFile(name))))
      for (const [tid, blocks] of Object.entries(states)) await expectBlocks(paths, `@${tid}/root/f`, blocks)
      await expectBlocks(paths, 'root/f', Object.values(states).at(-1)!)
    })

    it('an import with history has each transaction, including deletions', async () => {
      const source = await open(make(caseFile(name)))
      onTestFinished(() => source.close())
      const path = join(temporaryDirectory(), 'db')
      const target = await openSqliteStore(path, { create: true })
      const options = { source, target, mapPath: `${path}.import`, into: '', history: true }
      const { files, missing } = await importDatabase(options)
      await target.close()
      expect(files).toBe(1)
      const unread = Object.entries(states).filter(([, blocks]) => blocks.includes('!'))
      expect(missing.examples.map(({ at }) => formatTid(at))).toEqual(unread.map(([tid]) => tid))
      const paths = await openPaths(path)
      for (const [tid, blocks] of Object.entries(states)) await expectBlocks(paths, `@${tid}/f`, blocks)
    })

    it('an import without history has the newest state', async () => {
      const source = await open(make(caseFile(name)))
      onTestFinished(() => source.close())
      const path = join(temporaryDirectory(), 'db')
      const target = await openSqliteStore(path, { create: true })
      const options = { source, target, mapPath: `${path}.import`, into: '', history: false }
      await importDatabase(options)
      await target.close()
      await expectBlocks(await openPaths(path), 'f', Object.values(states).at(-1)!)
    })

    it('deleted objects are absent, and do not show their previous state', async () => {
      const store = await open(make(caseFile(name)))
      onTestFinished(() => store.close())
      for (const [object, tid] of absent)
        expect(await store.load([oid(object)], parseTid(tid)!)).toEqual([undefined])
    })
  })

  it('reports the time of its pack', async () => {
    for (const [name, expected] of [
      ['packed', '040d000000000003'],
      ['deleted', '0000000000000000'],
    ] as const) {
      const store = await open(make(caseFile(name)))
      expect(formatTid(await store.capabilities.foreignHistory!.packedUpTo())).toBe(expected)
      await store.close()
    }
  })
})

describe.each(STORES)('of a $kind, without a mount,', ({ make }) => {
  it('log lists the transactions, ls the names, and cat writes the bytes of a moment', async () => {
    const path = make(caseFile('deleted'))
    const log = await runZblkfs('log', path)
    expect(log.stderr).toBe('')
    expect(log.stdout.match(/^040d\w+/gm)).toEqual(['3', '2', '1'].map(digit => `040d00000000000${digit}`))
    expect((await runZblkfs('log', '-n', '1', '--json', path)).stdout).toContain('"objects":2')
    expect((await runZblkfs('ls', path)).stdout).toMatch(/^-444 {2}8192 {2}.* {2}f$/m)
    for (const [tid, letters] of [
      ['040d000000000001', 'AB'],
      ['040d000000000002', 'A'],
    ] as const) {
      const { stdout, exitCode } = await runZblkfs('cat', '--at', tid, path, 'f')
      expect(exitCode).toBe(0)
      expect(stdout === letters.replaceAll(/./g, letter => letter.repeat(BLKSIZE)), tid).toBe(true)
    }
    expect((await runZblkfs('cat', path, 'g')).stderr).toContain('there is no g')
    const diff = async (a: string, b: string) => (await runZblkfs('diff', '--db', path, a, b)).stdout
    expect(await diff('040d000000000001', '040d000000000003')).toBe(
      '* f  (4.0 KiB changed)\n    [4096, 8192)\n',
    )
    expect(await diff('040d000000000002', '040d000000000003')).toContain('4.0 KiB -> 8.0 KiB')
    expect(await diff('040d000000000003', '040d000000000003')).toBe('')
  })
})

describe('zblkfs import', () => {
  it.each(['packed', 'zlib', 'deleted', 'dangling'])(
    'of %s.fs, then export, keeps every state',
    async name => {
      const directory = temporaryDirectory()
      const db = join(directory, 'db')
      const imported = await runZblkfs('import', '--history', caseFile(name), db)
      expect(imported.stderr).toBe('')
      expect(imported.exitCode).toBe(0)
      if (name === 'packed')
        expect(imported.stdout).toContain('was packed up to transaction 040d000000000003')
      if (name === 'dangling')
        expect(imported.stdout).toContain('object 0000000000000005 at 040d000000000002')
      const fsck = await runZblkfs('fsck', '--data', db)
      // A reference to an object that does not exist is damage, which the import has kept.
      expect(fsck.exitCode, fsck.stdout + fsck.stderr).toBe(name === 'dangling' ? 4 : 0)
      const exported = join(directory, 'Data.fs')
      expect((await runZblkfs('export', db, exported)).exitCode).toBe(0)
      const deletions = [...readFileStorage(exported)].flatMap(({ tid, records }) =>
        records.filter(({ data }) => data === null).map(() => formatTid(tid as never)),
      )
      const isDeleted = name === 'deleted' || name === 'dangling'
      expect(deletions).toEqual(isDeleted ? ['040d000000000002'] : [])
      const again = join(directory, 'again')
      expect((await runZblkfs('import', exported, again)).exitCode).toBe(0)
      const { states } = CASES.find(each => each.name === name)!
      const paths = await openPaths(again)
      for (const [tid, blocks] of Object.entries(states)) await expectBlocks(paths, `@${tid}/f`, blocks)
      expect(existsSync(`${again}.import`)).toBe(false)
    },
  )

  it('that fails before its first commit leaves no database', async () => {
    const db = join(temporaryDirectory(), 'db')
    const path = made.madeUpFile({
      0: made.mapping({ f: made.ref(1, made.ZBIGFILE) }),
      1: made.data(made.ZBIGFILE, 'damaged'),
    })
    const { exitCode, stderr } = await runZblkfs('import', path, db)
    expect(exitCode).toBe(1)
    expect(stderr).toContain('is damaged')
    for (const suffix of ['', '-log', '-wal', '-lock', '.import'])
      expect(existsSync(db + suffix), suffix).toBe(false)
  })

  it('that fails half-way leaves a database that reports it', async () => {
    const file = new HandFile()
    const records = [
      { oid: 0, data: made.mapping({ f: made.ref(1, made.ZBIGFILE) }) },
      { oid: 1, data: made.bigFile(4096, 2) },
      { oid: 2, data: made.tree(made.LOTREE, 0, made.ref(3, made.ZBLK0)) },
      { oid: 3, data: made.data(made.ZBLK0, 'one') },
    ]
    file
      .add({ tid: 1n, records })
      .add({ tid: 2n, records: [{ oid: 2, data: made.data(made.LOTREE, 'damaged') }] })
    const directory = temporaryDirectory()
    writeFileSync(join(directory, 'Data.fs'), file.bytes)
    const db = join(directory, 'db')
    const { exitCode, stderr } = await runZblkfs('import', '--history', join(directory, 'Data.fs'), db)
    expect(exitCode).toBe(1)
    expect(stderr).toContain('has part of the import')
    const log = await runZblkfs('log', db)
    expect(log.exitCode).toBe(1)
    expect(log.stderr).toContain('has only a part of an import')
  })

  it('refuses the history of a history-free database', async () => {
    const directory = temporaryDirectory()
    historyFree(join(directory, 'main.sqlite3'), historyOf(caseFile('zlib'))).close()
    const db = join(directory, 'db')
    const { exitCode, stderr } = await runZblkfs('import', '--history', join(directory, 'main.sqlite3'), db)
    expect(exitCode).toBe(1)
    expect(stderr).toContain('import it without --history')
    expect(existsSync(db)).toBe(false)
    expect((await runZblkfs('import', join(directory, 'main.sqlite3'), db)).exitCode).toBe(0)
    await expectBlocks(await openPaths(db), 'f', 'E')
  })
})

describe.each(STORES)('a compressed record of a $kind', ({ make, open }) => {
  const store = async (stored: Uint8Array) => {
    const path = join(temporaryDirectory(), 'Data.fs')
    writeFileSync(path, new HandFile().add({ tid: 1n, records: [{ oid: 1, data: stored }] }).bytes)
    const opened = await open(make(path))
    onTestFinished(() => opened.close())
    return opened
  }
  const compressed = (record: Uint8Array): Buffer => Buffer.concat([Buffer.from('.z'), deflateSync(record)])

  it('of any length is read whole and in parts', async () => {
    for (const length of [0, 1, 1000, 100_000, 9_000_000]) {
      const record = randomBytes(length)
      const opened = await store(compressed(record))
      expect(
        Buffer.compare((await opened.load([oid(1)], parseTid('0000000000000001')!))[0]!.record, record),
      ).toBe(0)
      for (const [off, len] of [
        [0, 100],
        [length >> 1, length],
        [length, 5],
      ] as const)
        for (const into of [undefined, new Uint8Array(len)]) {
          const part = await opened.loadPart(oid(1), parseTid('0000000000000001')!, off, len, into)
          expect(part!.size).toBe(length)
          expect(Buffer.compare(part!.bytes, record.subarray(off, off + len))).toBe(0)
        }
    }
  })

  it('that is damaged, or longer than 64 MiB, is an error', async () => {
    const bomb = compressed(Buffer.alloc(65 << 20))
    for (const [stored, reason] of [
      [bomb, 'longer than 67108864 bytes'],
      [Buffer.from('.zno stream'), 'cannot be inflated'],
      [compressed(randomBytes(1000)).subarray(0, 500), 'cannot be inflated'],
      [Buffer.from('.z'), 'cannot be inflated'],
    ] as const) {
      const opened = await store(stored)
      await expect(opened.load([oid(1)], parseTid('0000000000000001')!)).rejects.toThrow(reason)
      await expect(opened.loadPart(oid(1), parseTid('0000000000000001')!, 0, 9)).rejects.toThrow(reason)
    }
  })
})
