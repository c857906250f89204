import { fork } from 'node:child_process'
import { appendFileSync, mkdirSync, readdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { openFileStorage } from '../../../store/filestorage/file-storage.ts'
import { HandFile } from '../../tools/zodb-file.ts'
import { allTransactions, temporary, textOf } from './temporary.ts'

const temp = temporary()

const numbered = (count: number, text: (i: number) => string = i => `at ${i}`) => {
  const file = new HandFile()
  for (let i = 1; i <= count; i++) file.add({ tid: BigInt(i * 10), records: [{ oid: i % 5, data: text(i) }] })
  return file
}

/** Opens the file, calls `look`, and closes it; resolves to the offset from which it was scanned. */
async function scanOf(
  path: string,
): Promise<{ readonly from: number; readonly texts: (string | undefined)[] }> {
  const scanned: number[] = []
  const store = await openFileStorage(path, {
    cacheDirectory: temp.current.cacheDirectory,
    warn: message => temp.current.warnings.push(message),
    progress: bytes => scanned.push(bytes),
  })
  const texts = await Promise.all([0, 1, 2, 3, 4].map(object => textOf(store, object)))
  await store.close()
  return { from: scanned.length, texts }
}

const cacheFiles = () => readdirSync(temp.current.cacheDirectory).filter(name => name.endsWith('.sqlite'))

describe('the cached index', () => {
  test('makes the second opening skip the scan', async () => {
    const path = temp.current.write(numbered(20).bytes)
    const texts = ['at 20', 'at 16', 'at 17', 'at 18', 'at 19']
    expect(await scanOf(path)).toEqual({ from: 1, texts })
    expect(await scanOf(path)).toEqual({ from: 0, texts })
    symlinkSync(path, join(temp.current.directory, 'link.fs'))
    expect(await scanOf(join(temp.current.directory, 'link.fs'))).toEqual({ from: 0, texts })
  })

  test('is extended if the file has grown', async () => {
    const path = temp.current.write(numbered(20).bytes)
    await scanOf(path)
    appendFileSync(path, numbered(23).bytes.subarray(numbered(20).bytes.length))
    expect((await scanOf(path)).texts).toEqual(['at 20', 'at 21', 'at 22', 'at 23', 'at 19'])
  })

  test('of another file at the same path is ignored and removed', async () => {
    const path = temp.current.write(numbered(20).bytes)
    await scanOf(path)
    const before = cacheFiles()
    renameSync(temp.current.write(numbered(10).bytes, 'packed'), path)
    expect((await scanOf(path)).texts).toEqual(['at 10', 'at 6', 'at 7', 'at 8', 'at 9'])
    expect(cacheFiles()).toHaveLength(1)
    expect(cacheFiles()).not.toEqual(before)
  })

  test('of an overwritten file is rebuilt', async () => {
    const path = temp.current.write(numbered(20).bytes)
    await scanOf(path)
    writeFileSync(path, numbered(30, i => `now ${'#'.repeat(i)}`).bytes)
    expect((await scanOf(path)).texts[0]).toBe(`now ${'#'.repeat(30)}`)
    writeFileSync(path, numbered(5).bytes)
    expect((await scanOf(path)).texts).toEqual(['at 5', 'at 1', 'at 2', 'at 3', 'at 4'])
  })

  test('that is damaged is rebuilt', async () => {
    const path = temp.current.write(numbered(20).bytes)
    await scanOf(path)
    writeFileSync(join(temp.current.cacheDirectory, cacheFiles()[0]!), 'this is no index')
    expect((await scanOf(path)).texts[0]).toBe('at 20')
    expect(await scanOf(path)).toMatchObject({ from: 0 })
    expect(temp.current.warnings).toEqual([])
  })

  test('that cannot be stored is temporary, with a warning', async () => {
    const path = temp.current.write(numbered(20).bytes)
    temp.current.write('a file where the directory should be', 'cache')
    expect((await scanOf(path)).texts[0]).toBe('at 20')
    expect(temp.current.warnings).toEqual([expect.stringContaining('a temporary file is used instead')])
  })

  test('continues a scan that was killed', async () => {
    const file = new HandFile()
    const record = 'x'.repeat(40)
    for (let i = 1; i <= 6; i++)
      file.add({
        tid: BigInt(i),
        records: Array.from({ length: 20_000 }, (_, k) => ({ oid: k, data: `${record}${i}` })),
      })
    const path = temp.current.write(file.bytes)
    mkdirSync(temp.current.cacheDirectory)
    const child = fork(join(import.meta.dirname, 'killed-scan.ts'), [path, temp.current.cacheDirectory])
    const code = await new Promise(resolve => child.on('exit', (_, signal) => resolve(signal)))
    expect(code).toBe('SIGKILL')
    const scanned: number[] = []
    const store = await openFileStorage(path, {
      cacheDirectory: temp.current.cacheDirectory,
      progress: bytes => scanned.push(bytes),
    })
    // A batch is a third of this file: a scan from the start would end its first batch there.
    expect(scanned[0]).toBeGreaterThan(file.bytes.length * 0.6)
    expect((await allTransactions(store)).map(({ objects }) => objects)).toEqual([...Array(6)].fill(20_000))
    for (const object of [0, 1, 9999, 19_999])
      for (let i = 1; i <= 6; i++) expect(await textOf(store, object, BigInt(i))).toBe(`${record}${i}`)
    await store.close()
  })

  test('is built once by concurrent openings', async () => {
    const file = new HandFile()
    for (let i = 1; i <= 3; i++)
      file.add({
        tid: BigInt(i),
        records: Array.from({ length: 40_000 }, (_, k) => ({ oid: k, data: `${i}` })),
      })
    const path = temp.current.write(file.bytes)
    const stores = await Promise.all([1, 2, 3].map(async () => temp.current.open(path)))
    for (const store of stores) {
      expect(await store.lastTid()).toBe(3n)
      expect(await textOf(store, 39_999, 2n)).toBe('2')
    }
    expect(temp.current.warnings).toEqual([])
  })
})
