import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { checkDatabase } from '../../core/check/check-database.ts'
import {
  importDatabase,
  type ImportOptions,
  type ImportResult,
} from '../../core/foreign/import/import-database.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { isRegular } from '../../core/tree/inode.ts'
import { formatTid, parseTid, tid as toTid, type Oid } from '../../store/ids.ts'
import { StoreError } from '../../store/errors.ts'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import * as made from '../mount/zodb/hand-made.ts'
import { codeOf, type Paths } from '../tools/paths.ts'
import { openPaths } from '../tools/temporary-database.ts'
import { HandFile } from '../tools/zodb-file.ts'
import { DATABASES, difference, type Database } from './manifest.ts'

type Choices = Partial<Pick<ImportOptions, 'into' | 'history' | 'partBytes' | 'progress'>>

/** Imports a FileStorage into a database, made if it is not there. */
async function importInto(path: string, database: string, choices: Choices = {}): Promise<ImportResult> {
  const source = await openFileStorage(path, { cacheDirectory: temporaryDirectory() })
  const target = await openSqliteStore(database, { create: true })
  try {
    return await importDatabase({
      source,
      target,
      mapPath: `${database}.import`,
      into: '',
      history: false,
      ...choices,
    })
  } finally {
    await source.close()
    await target.close()
  }
}

async function expectFiles(paths: Paths, { manifest }: Database, at: string, tid: string): Promise<void> {
  const { files, txns } = manifest()
  for (const [name, state] of Object.entries(txns.find(each => each.tid === tid)!.files)) {
    const bytes = await paths.read(`${at}${name}`)
    expect(difference(bytes, state, files[name]!.blksize), `${name} at ${tid}`).toBeUndefined()
  }
}

const [tiny] = DATABASES as [Database]
const lastOf = ({ manifest }: Database): string => manifest().txns.at(-1)!.tid

describe.each(DATABASES)('importing $name', database => {
  it.skipIf(database.missing)('with its history gives every file at every transaction', async () => {
    const path = join(temporaryDirectory(), 'db')
    const { txns, files } = database.manifest()
    const result = await importInto(database.path, path, { history: true })
    expect(result.files).toBe(Object.keys(files).length)
    expect(existsSync(`${path}.import`)).toBe(false)
    const paths = await openPaths(path)
    for (const { tid } of txns) await expectFiles(paths, database, `@${tid}/`, tid)
    await expectFiles(paths, database, '', lastOf(database))
    const store = await openSqliteStore(path, { readOnly: true })
    onTestFinished(() => store.close())
    const tids: string[] = []
    for await (const { tid } of store.transactions()) tids.push(formatTid(tid))
    for (const { tid } of txns) expect(tids).toContain(tid)
  })

  it.skipIf(database.missing)('without history gives the last state with its tid', async () => {
    const path = join(temporaryDirectory(), 'db')
    expect((await importInto(database.path, path)).transactions).toBe(1)
    const paths = await openPaths(path)
    await expectFiles(paths, database, '', lastOf(database))
    expect(formatTid(await paths.fs.lastTid())).toBe(lastOf(database))
  })
})

describe('an import', () => {
  it('adds a directory with a new tid to a database that has files', async () => {
    const path = join(temporaryDirectory(), 'db')
    const before = await openPaths(path)
    await before.write('mine', 'hello')
    await before.fs.close()
    await importInto(tiny.path, path, { into: 'from/zodb' })
    const paths = await openPaths(path)
    await expectFiles(paths, tiny, 'from/zodb/', lastOf(tiny))
    expect(String(await paths.read('mine'))).toBe('hello')
    expect((await paths.fs.lastTid()) > parseTid(lastOf(tiny))!).toBe(true)
  })

  it('refuses a history that begins before the last transaction of the database', async () => {
    const path = join(temporaryDirectory(), 'db')
    const before = await openPaths(path)
    await before.write('mine', 'hello')
    await before.fs.close()
    await expect(importInto(tiny.path, path, { history: true })).rejects.toThrow('the history cannot be kept')
  })

  it('with history reports that it is already complete', async () => {
    const path = join(temporaryDirectory(), 'db')
    await importInto(tiny.path, path, { history: true })
    await expect(importInto(tiny.path, path, { history: true })).rejects.toThrow('has the history of')
  })

  it('overwrites nothing', async () => {
    const path = join(temporaryDirectory(), 'db')
    const before = await openPaths(path)
    await before.write('B', 'hello')
    await before.fs.close()
    await expect(importInto(tiny.path, path)).rejects.toThrow('/B exists in the database already')
    expect(existsSync(`${path}.import`)).toBe(false)
    const paths = await openPaths(path)
    expect(String(await paths.read('B'))).toBe('hello')
    expect(await codeOf(paths.stat('A'))).toBe('ENOENT')
  })

  it('commits a transaction that is too big for memory in parts', async () => {
    const path = join(temporaryDirectory(), 'db')
    await importInto(tiny.path, path, { history: true, partBytes: 100_000 })
    const paths = await openPaths(path)
    for (const { tid } of tiny.manifest().txns) await expectFiles(paths, tiny, `@${tid}/`, tid)
  })

  it('that was interrupted at any point continues from there', async () => {
    const path = join(temporaryDirectory(), 'db')
    let budget = 300_000
    let tries = 0
    for (; ; tries++) {
      let left = budget
      const interrupt = (_phase: string, bytes: number): void => {
        left -= bytes
        if (left < 0) throw new Error('interrupted')
      }
      try {
        await importInto(tiny.path, path, { history: true, partBytes: 100_000, progress: interrupt })
        break
      } catch (error) {
        expect(String(error)).toContain('interrupted')
        if (tries > 12) budget *= 2
      }
    }
    expect(tries).toBeGreaterThan(5)
    const paths = await openPaths(path)
    for (const { tid } of tiny.manifest().txns) await expectFiles(paths, tiny, `@${tid}/`, tid)
  })

  it('skips transactions that change no file', async () => {
    const file = new HandFile()
    const block = (text: string) => ({ oid: 3, data: made.data(made.ZBLK0, text) })
    file.add({
      tid: 1n,
      records: [
        { oid: 0, data: made.mapping({ file: made.ref(1, made.ZBIGFILE), app: made.ref(9, made.MAPPING) }) },
        { oid: 1, data: made.bigFile(4096, 2) },
        { oid: 2, data: made.tree(made.LOTREE, 0, made.ref(3, made.ZBLK0)) },
        block('one'),
        { oid: 9, data: made.mapping({}) },
      ],
    })
    for (const tid of [2n, 3n, 4n, 6n, 7n])
      file.add({ tid, records: [{ oid: 9, data: made.mapping({ n: Number(tid) }) }] })
    file.add({ tid: 8n, records: [block('eight')] })
    file.add({ tid: 9n, records: [{ oid: 9, data: made.mapping({}) }] })
    const source = join(temporaryDirectory(), 'Data.fs')
    writeFileSync(source, file.bytes)
    const path = join(temporaryDirectory(), 'db')
    expect(await importInto(source, path, { history: true })).toMatchObject({ files: 1 })
    const paths = await openPaths(path)
    expect(String((await paths.read('file')).subarray(0, 5))).toBe('eight')
    expect(String((await paths.read('@0000000000000001/file')).subarray(0, 3))).toBe('one')
    expect(await paths.stat('file')).toMatchObject({
      mtimeNs: (await paths.stat('@0000000000000008/file')).mtimeNs,
    })
  })

  it('follows names that are files at one moment and directories at another', async () => {
    const file = new HandFile()
    const tids = Array.from({ length: 8 }, (_, index) => 0x040d_2f7d_0000_0000n + BigInt(index))
    const bigFile = (oid: number, text: string): { oid: number; data: Uint8Array }[] => [
      { oid, data: made.bigFile(4096, oid + 1) },
      { oid: oid + 1, data: made.tree(made.LOTREE, 0, made.ref(oid + 2, made.ZBLK0)) },
      { oid: oid + 2, data: made.data(made.ZBLK0, text) },
    ]
    const [one, two] = [made.ref(10, made.ZBIGFILE), made.ref(20, made.ZBIGFILE)]
    const [dir, inner] = [made.ref(30, made.MAPPING), made.ref(31, made.MAPPING)]
    const moment = (index: number, ...mappings: readonly Parameters<typeof made.mapping>[0][]): void => {
      file.add({
        tid: tids[index]!,
        records: [
          ...(index === 0 ? [...bigFile(10, 'one'), ...bigFile(20, 'two')] : []),
          ...mappings.map((entries, place) => ({ oid: [0, 30, 31][place]!, data: made.mapping(entries) })),
        ],
      })
    }
    moment(0, { x: one, y: two })
    // A file becomes a directory, that of another file, which is renamed.
    moment(1, { x: dir, z: one }, { a: two })
    // Only empty directories are left, then the name is that of a file.
    moment(2, { one, two }, { deep: inner }, {})
    moment(3, { x: one, two })
    // A file moves into the directory that takes its name, and back.
    moment(4, { x: dir, two }, { deep: inner }, { a: one })
    moment(5, { x: one, two })
    moment(6, { x: two, two: one })
    moment(7, { x: dir, y: dir }, { deep: inner, b: two }, { a: one })
    const source = join(temporaryDirectory(), 'Data.fs')
    writeFileSync(source, file.bytes)
    const path = join(temporaryDirectory(), 'db')
    await importInto(source, path, { history: true })
    const paths = await openPaths(path)
    const store = await openSqliteStore(path, { readOnly: true })
    onTestFinished(() => store.close())
    const oids = new Map<string, Set<Oid | undefined>>()
    for (const [index, names] of [
      { x: 'one', y: 'two' },
      { 'x/a': 'two', z: 'one' },
      { one: 'one', two: 'two' },
      { x: 'one', two: 'two' },
      { 'x/deep/a': 'one', two: 'two' },
      { x: 'one', two: 'two' },
      { x: 'two', two: 'one' },
      { 'x/deep/a': 'one', 'x/b': 'two' },
    ].entries()) {
      const at = toTid(tids[index]!)
      const view = await MomentView.open(store, at)
      const found: string[] = []
      for await (const entry of view.walk()) if (isRegular(entry.inode)) found.push(entry.path.text)
      expect(found.sort(), `moment ${index}`).toEqual(Object.keys(names).sort())
      for (const [name, text] of Object.entries(names)) {
        expect(String((await paths.read(`@${formatTid(at)}/${name}`)).subarray(0, 3)), name).toBe(text)
        oids.set(text, (oids.get(text) ?? new Set()).add((await view.find(name))?.oid))
      }
    }
    // A file keeps its inode under all of its names.
    expect([...oids.values()].map(({ size }) => size)).toEqual([1, 1])
    const damage: unknown[] = []
    const report = (found: unknown): void => void damage.push(found)
    await checkDatabase(path, { data: true, repair: false, report, progress: () => undefined })
    expect(damage).toEqual([])
  })

  it('of a truncated database keeps its complete transactions, or reports the reason', async () => {
    const whole = readFileSync(tiny.path)
    const { txns } = tiny.manifest()
    const source = join(temporaryDirectory(), 'Data.fs')
    const reached = new Set<string>()
    for (let end = 4; end < whole.length; end += 61_000) {
      writeFileSync(source, whole.subarray(0, end))
      const path = join(temporaryDirectory(), 'db')
      const store = await openFileStorage(source, { cacheDirectory: temporaryDirectory() })
      const last = formatTid(await store.lastTid())
      await store.close()
      const failure = await importInto(source, path, { history: true }).then(
        () => undefined,
        (error: unknown) => error,
      )
      if (failure !== undefined) {
        expect(failure).toBeInstanceOf(StoreError)
        continue
      }
      if (reached.has(last)) continue
      reached.add(last)
      const paths = await openPaths(path)
      for (const { tid } of txns) if (tid <= last) await expectFiles(paths, tiny, `@${tid}/`, tid)
      await paths.fs.close()
    }
    expect(reached.size).toBeGreaterThan(5)
  })

  it('that was interrupted continues with later transactions of the source', async () => {
    const whole = readFileSync(tiny.path)
    const source = join(temporaryDirectory(), 'Data.fs')
    for (const [end, budget] of [
      [900_000, 100_000],
      [1_700_000, 600_000],
      [2_900_000, 1_500_000],
    ] as const) {
      const path = join(temporaryDirectory(), 'db')
      writeFileSync(source, whole.subarray(0, end))
      let left = budget
      const progress = (_phase: string, bytes: number): void => {
        left -= bytes
        if (left < 0) throw new Error('interrupted')
      }
      await expect(importInto(source, path, { history: true, partBytes: 100_000, progress })).rejects.toThrow(
        'interrupted',
      )
      expect(existsSync(`${path}.import`)).toBe(true)
      writeFileSync(source, whole.subarray(0, 300_000))
      await expect(importInto(source, path, { history: true })).rejects.toThrow('when its import began')
      writeFileSync(source, whole)
      await importInto(source, path, { history: true, partBytes: 100_000 })
      const paths = await openPaths(path)
      for (const { tid } of tiny.manifest().txns) await expectFiles(paths, tiny, `@${tid}/`, tid)
      await expectFiles(paths, tiny, '', lastOf(tiny))
      await paths.fs.close()
    }
  })

  it('creates writable files that keep their block size', async () => {
    const path = join(temporaryDirectory(), 'db')
    await importInto(tiny.path, path)
    const paths = await openPaths(path)
    for (const name of ['A', 'B', 'C']) {
      const expected = await paths.read(name)
      const data = Buffer.from('written over '.repeat(3000))
      for (const off of [5000, 8190, 262_140, 300_001]) {
        data.copy(expected, off)
        await paths.write(name, data.subarray(0, Math.max(0, expected.length - off)), BigInt(off))
      }
      await paths.fs.sync()
      expect((await paths.read(name)).equals(expected), name).toBe(true)
    }
    await paths.fs.close()
    const again = await openPaths(path)
    expect((await again.stat('B')).size).toBe(BigInt(tiny.manifest().txns.at(-1)!.files['B']!.size))
  })

  it('reports the disk space of the files', async () => {
    const path = join(temporaryDirectory(), 'db')
    await importInto(tiny.path, path, { history: true })
    const paths = await openPaths(path)
    const { files: total } = await paths.fs.statfs()
    expect(total % 2 ** 40).toBe(4)
    const { blocks } = await paths.stat('A')
    expect(blocks).toBeGreaterThan(0)
    expect(BigInt(blocks) * 512n).toBeLessThanOrEqual((await paths.stat('A')).size)
  })
})
