import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { assert, asyncProperty, integer, nat } from 'fast-check'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { CannotOpenError, CorruptRecordError, StoreError } from '../../../store/errors.ts'
import { oid, tid, TID_MAX, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import { recognise } from '../../../store/recognise.ts'
import { openRelStorage } from '../../../store/relstorage/rel-storage.ts'
import type { Store } from '../../../store/store.ts'
import { readFileStorage } from '../../tools/file-storage-reader.ts'
import { FIXTURES } from '../../tools/record-fixtures.ts'
import { madeUpHistory } from '../../tools/zodb-history.ts'
import { readingContract } from '../contract/reading.ts'
import type { History } from '../history.ts'
import { historyFree, PreservingDatabase } from './database.ts'

let path = ''
beforeEach(() => {
  path = join(mkdtempSync(join(tmpdir(), 'zblkfs-relstorage-')), 'main.sqlite3')
})
afterEach(() => rmSync(join(path, '..'), { recursive: true }))

/** A store that is closed after the test. */
async function open(): Promise<Store> {
  const store = await openRelStorage(path)
  onTestFinished(async () => store.close())
  return store
}

const textOf = async (store: Store, object: number, at: bigint = TID_MAX) => {
  const [revision] = await store.load([oid(object)], tid(at))
  return revision && Buffer.from(revision.record).toString()
}

const transaction = (at: bigint, ...records: [number, string | null][]): History[number] => ({
  tid: tid(at),
  user: '',
  description: '',
  extension: new Uint8Array(),
  records: new Map(records.map(([object, text]) => [oid(object), text === null ? null : Buffer.from(text)])),
})

/** The content of a history-free database: each object once, in the last transaction that wrote it. */
function lastStates(history: History): History {
  const newest = new Map<Oid, Tid>()
  for (const { tid, records } of history) for (const oid of records.keys()) newest.set(oid, tid)
  return history
    .map(({ tid, records }) => ({
      ...transaction(tid),
      records: new Map([...records].filter(([oid]) => newest.get(oid) === tid)),
    }))
    .filter(({ records }) => records.size > 0)
}

for (const rowid of [true, false])
  readingContract(`a history-preserving RelStorage, ${rowid ? 'with' : 'without'} rowids`, async () => {
    const history = madeUpHistory()
    const { db } = new PreservingDatabase(path, { rowid }).add(history)
    onTestFinished(() => void db.close())
    return { store: await openRelStorage(path), history }
  })

readingContract('a history-free RelStorage', async () => {
  const history = lastStates(madeUpHistory())
  historyFree(path, history).close()
  return { store: await openRelStorage(path), history }
})

const [tiny] = FIXTURES
readingContract('a RelStorage with what is in tiny.fs', async () => {
  const history = [...readFileStorage(tiny!.path)].map(({ records, ...transaction }) => ({
    tid: tid(transaction.tid),
    user: transaction.user.toString(),
    description: transaction.description.toString(),
    extension: transaction.extension,
    records: new Map(records.map(({ oid: value, data }) => [oid(value), data])),
  }))
  new PreservingDatabase(path).add(history).db.close()
  return { store: await openRelStorage(path), history }
})

describe('a RelStorage that is being written', () => {
  test('shows each commit when it is made', async () => {
    const writer = new PreservingDatabase(path).add([transaction(10n, [1, 'one'])])
    onTestFinished(() => void writer.db.close())
    const store = await open()
    expect(await textOf(store, 1)).toBe('one')
    writer.add([transaction(20n, [1, 'two'], [2, 'new'])])
    expect(await store.lastTid()).toBe(20n)
    expect(await textOf(store, 1)).toBe('two')
    expect(await textOf(store, 1, 19n)).toBe('one')
    const changes: unknown[] = []
    for await (const change of store.changes(tid(10n))) changes.push(change)
    expect(changes).toEqual([{ tid: 20n, oids: [1, 2] }])
    writer.db.exec('BEGIN IMMEDIATE')
    writer.db.exec(`INSERT INTO "transaction" VALUES (30, FALSE, FALSE, '', '', NULL)`)
    writer.db.exec("INSERT INTO object_state VALUES (3, 30, 0, NULL, 1, x'00')")
    expect(await store.lastTid()).toBe(20n)
    expect(await textOf(store, 3)).toBeUndefined()
    writer.db.exec('ROLLBACK')
  })

  test('without history drops earlier states', async () => {
    const writer = historyFree(path, [transaction(10n, [1, 'one'], [2, 'two'])])
    onTestFinished(() => void writer.close())
    const store = await open()
    writer
      .prepare('UPDATE object_state SET tid = 20, state_size = 3, state = ? WHERE zoid = 1')
      .run(Buffer.from('new'))
    expect(await store.lastTid()).toBe(20n)
    expect(await textOf(store, 1)).toBe('new')
    expect(await textOf(store, 1, 10n)).toBeUndefined()
    expect(await textOf(store, 2, 10n)).toBe('two')
  })

  test.each([3, 100])('finds neighbours of which one has %i revisions', async count => {
    const oids = Array.from({ length: 20 }, (_, i) => i)
    const history = [
      transaction(1n, ...oids.map((i): [number, string | null] => [i, i === 5 ? null : `${i}`])),
    ]
    for (let i = 2; i <= count; i++) history.push(transaction(BigInt(i), [7, `seven ${i}`]))
    new PreservingDatabase(path).add(history).db.close()
    const store = await open()
    for (const at of [1n, 2n, TID_MAX]) {
      // Neither in order nor all of them.
      const asked = [9, ...oids.filter(i => i !== 12), 30]
      const loaded = await store.load(
        asked.map(i => oid(i)),
        tid(at),
      )
      const seven = at === 1n ? '7' : `seven ${at === 2n ? 2 : count}`
      expect(loaded.map(revision => revision && Buffer.from(revision.record).toString())).toEqual(
        asked.map(i => (i === 5 || i === 30 ? undefined : i === 7 ? seven : `${i}`)),
      )
    }
  })

  test('reads parts of records of many MiB', async () => {
    const text = Array.from({ length: 1 << 20 }, (_, i) => String(i).padStart(9)).join('')
    const writer = new PreservingDatabase(path).add([transaction(1n, [1, text], [2, text.slice(0, 3 << 20)])])
    onTestFinished(() => void writer.db.close())
    const store = await open()
    const partOf = async (object: number) => {
      const part = await store.loadPart(oid(object), TID_MAX, 1 << 20, 9)
      return part && { ...part, bytes: Buffer.from(part.bytes).toString() }
    }
    const bytes = text.slice(1 << 20, (1 << 20) + 9)
    for (let i = 0; i < 2; i++) {
      expect(await partOf(1)).toEqual({ tid: 1n, size: text.length, bytes })
      expect(await partOf(2)).toEqual({ tid: 1n, size: 3 << 20, bytes })
    }
    writer.add([transaction(2n, [2, 'x'.repeat(2 << 20)])])
    expect(await partOf(2)).toEqual({ tid: 2n, size: 2 << 20, bytes: 'x'.repeat(9) })
  })

  test('lists a large transaction in pieces', async () => {
    const oids = Array.from({ length: 25_000 }, (_, i) => i)
    const records = oids.map((i): [number, string] => [i, `${i}`])
    new PreservingDatabase(path).add([transaction(10n, ...records), transaction(20n, [5, 'x'])]).db.close()
    const pieces: { tid: Tid; oids: readonly Oid[] }[] = []
    for await (const change of (await open()).changes(TID_NONE)) pieces.push(change)
    expect(pieces.map(({ tid, oids }) => [tid, oids.length])).toEqual([
      [10n, 10_000],
      [10n, 10_000],
      [10n, 5000],
      [20n, 1],
    ])
    expect(pieces.slice(0, 3).flatMap(({ oids }) => oids)).toEqual(oids)
  })
})

describe('files that are not a RelStorage', () => {
  test.each([
    ['a missing file', () => {}, 'cannot be opened'],
    ['another file', () => writeFileSync(path, 'x'.repeat(5000)), 'file is not a database'],
    ['an empty file', () => writeFileSync(path, ''), 'not a RelStorage one'],
    [
      "another program's database",
      () => void new Database(path).exec('CREATE TABLE object_state (a)').close(),
      'not a RelStorage one',
    ],
    [
      'a database with other keys',
      () => void new Database(path).exec('CREATE TABLE object_state (zoid, tid, state_size, state)').close(),
      'not a RelStorage one',
    ],
    [
      'a database with an oid beyond 2^53',
      () =>
        historyFree(path, []).exec("INSERT INTO object_state VALUES (9007199254740992, 1, 1, x'00')").close(),
      'holds object 9007199254740992, whose id is beyond 2^53',
    ],
  ])('%s is refused by name', async (_, make, message) => {
    make()
    await expect(openRelStorage(path)).rejects.toThrow(CannotOpenError)
    await expect(openRelStorage(path)).rejects.toThrow(message)
    await expect(openRelStorage(path)).rejects.toThrow(path)
  })
})

describe('a damaged RelStorage', () => {
  test.each([
    ['of another length than noted', "x'0102'", 3],
    ['that is text', "'ab'", 2],
    ['that is a number', '7', 1],
  ])('record %s is an error', async (_, state, size) => {
    historyFree(path, []).exec(`INSERT INTO object_state VALUES (1, 1, ${size}, ${state})`).close()
    const store = await open()
    await expect(store.load([oid(1)], TID_MAX)).rejects.toThrow(CorruptRecordError)
    await expect(store.loadPart(oid(1), TID_MAX, 0, 1)).rejects.toThrow(CorruptRecordError)
  })

  test('file that is cut off is reported with a remedy', async () => {
    new PreservingDatabase(path).add(madeUpHistory().slice(0, 12)).db.close()
    writeFileSync(path, readFileSync(path).subarray(0, 10_000))
    await expect(openRelStorage(path)).rejects.toThrow(/malformed: restore it from a copy/)
    await expect(recognise(path)).rejects.toThrow(/malformed: restore it from a copy/)
  })

  test('file fails with a StoreError, or not at all', async () => {
    new PreservingDatabase(path).add(madeUpHistory().slice(0, 12)).db.close()
    const whole = readFileSync(path)
    await assert(
      asyncProperty(nat(whole.length - 1), integer({ min: 1, max: 255 }), async (pos, flip) => {
        const bytes = Buffer.from(whole)
        bytes[pos]! ^= flip
        writeFileSync(path, bytes)
        try {
          const store = await openRelStorage(path)
          try {
            for await (const { oids } of store.changes(TID_NONE)) await store.load(oids, TID_MAX)
            for await (const { tid } of store.transactions()) await store.revisions(oid(1), { upTo: tid })
          } finally {
            await store.close()
          }
        } catch (error) {
          expect(error).toBeInstanceOf(StoreError)
        }
      }),
      { numRuns: 200 },
    )
  })
})
