import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFileSync, closeSync, openSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CannotOpenError, StoreError } from '../../../store/errors.ts'
import { FileStorageWriter } from '../../../store/filestorage/writer.ts'
import { tryLock } from '../../../store/flock.ts'
import type { RecordToWrite } from '../../../store/store.ts'
import { formatOid, formatTid, oid, tid, type Oid } from '../../../store/ids.ts'
import { readFileStorage } from '../../tools/file-storage-reader.ts'
import { FIXTURES } from '../../tools/record-fixtures.ts'
import { fileStorageOf, madeUpHistory } from '../../tools/zodb-history.ts'
import { readingContract } from '../contract/reading.ts'
import type { History } from '../history.ts'
import { temporary } from './temporary.ts'

const temp = temporary()
const framing = join(import.meta.dirname, '../../tools/zodb-framing.py')
const noPython = spawnSync('python3', ['--version']).status !== 0

const recordsOf = (records: ReadonlyMap<Oid, Uint8Array | null>): RecordToWrite[] =>
  [...records].map(([oid, record]) => ({ oid, record }))

async function appendAll(writer: FileStorageWriter, history: History): Promise<void> {
  for (const transaction of history)
    await writer.append({ ...transaction, records: recordsOf(transaction.records) })
}

async function write(history: History, name = 'written.fs'): Promise<string> {
  const path = join(temp.current.directory, name)
  const writer = await FileStorageWriter.create(path)
  await appendAll(writer, history)
  await writer.close()
  return path
}

readingContract('a FileStorage that was written here', async () => {
  const history = madeUpHistory()
  const store = await temp.current.open(await write(history))
  return { store, history }
})

describe('a written FileStorage', () => {
  test('equals byte for byte the one made by hand', async () => {
    const history = madeUpHistory()
    expect(Buffer.compare(readFileSync(await write(history)), fileStorageOf(history))).toBe(0)
  })

  for (const { name, path, missing } of FIXTURES.filter(({ writtenBy }) => writtenBy === 'python3'))
    test.skipIf(missing)(`with what is in ${name} is byte for byte what ZODB wrote`, async () => {
      const history = [...readFileStorage(path)].map(transaction => ({
        tid: tid(transaction.tid),
        user: transaction.user.toString(),
        description: transaction.description.toString(),
        extension: transaction.extension,
        records: new Map(transaction.records.map(({ oid: value, data }) => [oid(value), data])),
      }))
      expect(Buffer.compare(readFileSync(await write(history)), readFileSync(path))).toBe(0)
    })

  test.skipIf(noPython)('is walked by a reader in Python', async () => {
    const history = madeUpHistory()
    const found: unknown = JSON.parse(
      execFileSync('python3', [framing, await write(history)], { encoding: 'utf8' }),
    )
    expect(found).toEqual(
      history.map(({ tid, user, description, extension, records }) => ({
        tid: formatTid(tid),
        user,
        description,
        extension: Buffer.from(extension).toString('hex'),
        records: [...records].map(([oid, record]) => [
          formatOid(oid),
          record && createHash('sha256').update(record).digest('hex'),
        ]),
      })),
    )
  })

  test('continues after the last whole transaction once a torn tail is truncated', async () => {
    const history = madeUpHistory()
    const path = await write(history.slice(0, 25))
    appendFileSync(path, fileStorageOf(history.slice(25, 26)).subarray(4, -3))
    const writer = await FileStorageWriter.reopen(path, temp.current.cacheDirectory)
    expect(writer.lastTid).toBe(history[24]!.tid)
    await appendAll(writer, history.slice(25))
    expect(writer.lastTid).toBe(history.at(-1)!.tid)
    await writer.close()
    expect(Buffer.compare(readFileSync(path), fileStorageOf(history))).toBe(0)
  })

  test('is followed by a store that shares its index, transaction by transaction', async () => {
    const history = madeUpHistory()
    const path = await write(history.slice(0, 10))
    const store = await temp.current.open(path)
    const writer = await FileStorageWriter.reopen(path, temp.current.cacheDirectory)
    for (const transaction of history.slice(10)) {
      await appendAll(writer, [transaction])
      expect(await store.lastTid()).toBe(transaction.tid)
      const objects = [...transaction.records]
      const loaded = await store.load(
        objects.map(([oid]) => oid),
        transaction.tid,
      )
      for (const [i, [, record]] of objects.entries())
        expect(Buffer.from(loaded[i]?.record ?? []).equals(record ?? Buffer.alloc(0))).toBe(true)
    }
    await writer.close()
  })

  test('accepts many big records from an asynchronous source', async () => {
    const path = join(temp.current.directory, 'big.fs')
    const writer = await FileStorageWriter.create(path)
    const big = Buffer.alloc(3_000_000, 'big')
    async function* records(): AsyncGenerator<RecordToWrite> {
      for (let i = 0; i < 30_000; i++) {
        if (i % 10_000 === 0) await Promise.resolve()
        yield { oid: oid(i), record: i % 10_000 === 7 ? big : Buffer.from(`record ${i}`) }
      }
    }
    for (const at of [1n, 2n])
      await writer.append({
        tid: tid(at),
        user: '',
        description: '',
        extension: new Uint8Array(),
        records: records(),
      })
    await writer.close()
    const transactions = [...readFileStorage(path)]
    expect(transactions.map(({ records }) => records.length)).toEqual([30_000, 30_000])
    expect(transactions[1]!.records[10_007]!.data!.equals(big)).toBe(true)
    expect(transactions[1]!.records[29_999]!.data!.toString()).toBe('record 29999')
  })
})

describe('what cannot be written', () => {
  const empty = { user: '', description: '', extension: new Uint8Array(), records: [] }
  const writer = async () => {
    const path = await write(madeUpHistory().slice(0, 10))
    const writer = await FileStorageWriter.reopen(path, temp.current.cacheDirectory)
    return { writer, path, next: tid(writer.lastTid + 1n) }
  }

  test('is refused before anything is written', async () => {
    const { writer: target, path, next } = await writer()
    const size = statSync(path).size
    await expect(target.append({ ...empty, tid: target.lastTid })).rejects.toThrow(StoreError)
    await expect(target.append({ ...empty, tid: next, user: 'x'.repeat(65_536) })).rejects.toThrow(
      'does not fit',
    )
    expect(statSync(path).size).toBe(size)
    await target.close()
  })

  test('does not change the file, and the next transaction takes its place', async () => {
    const { writer: target, path, next } = await writer()
    const before = readFileSync(path)
    function* failing(): Generator<RecordToWrite> {
      yield { oid: oid(1), record: Buffer.alloc(5_000_000) }
      throw new Error('the source failed')
    }
    await expect(target.append({ ...empty, tid: next, records: failing() })).rejects.toThrow(
      'the source failed',
    )
    expect(readFileSync(path).equals(before)).toBe(true)
    const none = [{ oid: oid(1), record: new Uint8Array() }]
    await expect(target.append({ ...empty, tid: next, records: none })).rejects.toThrow('empty record')
    expect(readFileSync(path).equals(before)).toBe(true)
    await target.append({ ...empty, tid: next, records: [{ oid: oid(1), record: Buffer.from('now') }] })
    expect([...readFileStorage(path)].at(-1)!.records[0]!.data!.toString()).toBe('now')
    await target.close()
  })

  test('an existing file, one in a missing directory, and one open in ZODB are refused', async () => {
    const path = await write([])
    await expect(FileStorageWriter.create(path)).rejects.toThrow('exists already')
    await expect(FileStorageWriter.create(join(path, 'x'))).rejects.toThrow(CannotOpenError)
    await expect(FileStorageWriter.reopen(`${path}.none`, temp.current.cacheDirectory)).rejects.toThrow(
      CannotOpenError,
    )
    temp.current.write(` ${process.ppid}\n`, 'written.fs.lock')
    await expect(FileStorageWriter.reopen(path, temp.current.cacheDirectory)).rejects.toThrow(
      `in use by process ${process.ppid}`,
    )
    temp.current.write(' 999999999\n', 'written.fs.lock')
    await (await FileStorageWriter.reopen(path, temp.current.cacheDirectory)).close()
  })

  test('a file that ZODB has locked is left as it is, and one that is open here is locked', async () => {
    const path = await write([])
    // A transaction that is being appended, by a process whose id means nothing here, as that of a container.
    appendFileSync(path, 'the beginning of a transaction')
    const before = readFileSync(path)
    temp.current.write(' 999999999\n', 'written.fs.lock')
    const lock = openSync(`${path}.lock`, 'r+')
    expect(tryLock(lock)).toBe(true)
    await expect(FileStorageWriter.reopen(path, temp.current.cacheDirectory)).rejects.toThrow('is in use by')
    expect(readFileSync(path).equals(before)).toBe(true)
    closeSync(lock)
    const writer = await FileStorageWriter.reopen(path, temp.current.cacheDirectory)
    const again = openSync(`${path}.lock`, 'r+')
    expect(tryLock(again)).toBe(false)
    await writer.close()
    expect(tryLock(again)).toBe(true)
    closeSync(again)
  })
})
