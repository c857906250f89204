import { appendFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs'
import { fork } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CannotOpenError, StoreError } from '../../../store/errors.ts'
import { oid, tid, TID_MAX, TID_NONE } from '../../../store/ids.ts'
import { readFileStorage } from '../../tools/file-storage-reader.ts'
import { FIXTURES } from '../../tools/record-fixtures.ts'
import { HandFile } from '../../tools/zodb-file.ts'
import { allChanges, allTransactions, temporary, textOf } from './temporary.ts'

const temp = temporary()

/** Three transactions: object 1 changes in each, 2 is added by the second. */
const history = () =>
  new HandFile()
    .add({ tid: 10n, user: 'ann', description: 'first', records: [{ oid: 1, data: 'one', name: '1@10' }] })
    .add({
      tid: 20n,
      description: 'second',
      extension: Buffer.from('ext'),
      records: [
        { oid: 1, data: 'uno' },
        { oid: 2, data: 'two' },
      ],
    })
    .add({ tid: 30n, records: [{ oid: 1, data: 'eins' }] })

describe.each(FIXTURES)('$name', ({ path, missing }) => {
  test.skipIf(missing)('every object at every tid is what an independent reader finds', async () => {
    const store = await temp.current.open(path)
    const expected = new Map<bigint, Buffer | null>()
    const transactions = [...readFileStorage(path)]
    for (const transaction of transactions) {
      for (const { oid, data } of transaction.records) expected.set(oid, data)
      const oids = [...expected.keys()]
      const revisions = await store.load(
        oids.map(value => oid(value)),
        tid(transaction.tid),
      )
      for (const [i, value] of oids.entries()) {
        const data = expected.get(value)
        expect(revisions[i] && Buffer.compare(revisions[i].record, data!)).toBe(data === null ? undefined : 0)
      }
    }
    expect(temp.current.warnings).toEqual([])
  })

  test.skipIf(missing)('its transactions and changes match those of an independent reader', async () => {
    const store = await temp.current.open(path)
    const transactions = [...readFileStorage(path)]
    expect(await store.lastTid()).toBe(transactions.at(-1)!.tid)
    expect(await allTransactions(store)).toEqual(
      transactions.map(({ records, ...transaction }) => ({
        tid: transaction.tid,
        user: transaction.user.toString(),
        description: transaction.description.toString(),
        extension: transaction.extension,
        objects: records.length,
        bytes: records.reduce((sum, { data }) => sum + (data?.length ?? 0), 0),
      })),
    )
    expect(await allChanges(store)).toEqual(
      transactions.map(({ tid, records }) => ({ tid, oids: records.map(({ oid }) => Number(oid)) })),
    )
  })

  test.skipIf(missing)('parts of its records are cut where they should be', async () => {
    const store = await temp.current.open(path)
    for (const { oid: value, data } of [...readFileStorage(path)].at(-1)!.records) {
      if (data === null) continue
      for (const [off, len] of [
        [0, 5],
        [3, data.length],
        [data.length - 1, 1],
        [data.length + 9, 4],
      ] as const) {
        const part = await store.loadPart(oid(value), TID_MAX, off, len)
        expect(part!.size).toBe(data.length)
        expect(Buffer.compare(part!.bytes, data.subarray(off, off + len))).toBe(0)
      }
    }
  })
})

describe('the upstream databases', () => {
  test.skipIf(FIXTURES.at(-1)!.missing)(
    'have 73 records in two transactions, in each pickle flavour',
    async () => {
      for (const { path } of FIXTURES.filter(({ path }) => path.endsWith('zblk.fs'))) {
        const store = await temp.current.open(path)
        expect((await allTransactions(store)).map(({ objects }) => objects)).toEqual([1, 72])
        expect(await store.lastTid()).toBe(0x0285_cbac_3851_eb99n)
      }
    },
  )
})

describe('a FileStorage', () => {
  test('reads the newest revision up to a moment', async () => {
    const store = await temp.current.open(temp.current.write(history().bytes))
    expect(await textOf(store, 1, 9n)).toBeUndefined()
    expect(await textOf(store, 1, 10n)).toBe('one')
    expect(await textOf(store, 1, 19n)).toBe('one')
    expect(await textOf(store, 1, 25n)).toBe('uno')
    expect(await textOf(store, 1)).toBe('eins')
    expect(await textOf(store, 2, 10n)).toBeUndefined()
    expect(await textOf(store, 3)).toBeUndefined()
    expect(await store.revisions(oid(1))).toEqual([30n, 20n, 10n])
    expect(await store.revisions(oid(1), { after: tid(10n), upTo: tid(29n) })).toEqual([20n])
    expect(await store.revisions(oid(7))).toEqual([])
  })

  test('lists transactions of a range, in both directions, up to a limit', async () => {
    const store = await temp.current.open(temp.current.write(history().bytes))
    const tids = async (range: Parameters<typeof store.transactions>[0]) => {
      const all: bigint[] = []
      for await (const { tid } of store.transactions(range)) all.push(tid)
      return all
    }
    expect(await tids({})).toEqual([10n, 20n, 30n])
    expect(await tids({ reverse: true })).toEqual([30n, 20n, 10n])
    expect(await tids({ after: tid(10n), upTo: tid(20n) })).toEqual([20n])
    expect(await tids({ reverse: true, limit: 2 })).toEqual([30n, 20n])
    expect(await tids({ limit: 0 })).toEqual([])
  })

  test('without transactions is empty', async () => {
    const store = await temp.current.open(temp.current.write('FS30'))
    expect(await store.lastTid()).toBe(TID_NONE)
    expect(await allTransactions(store)).toEqual([])
    expect(await textOf(store, 0)).toBeUndefined()
  })

  test('is read through back pointers, and past the undo of an object', async () => {
    const file = history()
      .add({
        tid: 40n,
        records: [
          { oid: 1, data: { sameAs: '1@10' }, name: '1@40' },
          { oid: 2, data: null },
        ],
      })
      .add({ tid: 50n, records: [{ oid: 1, data: { sameAs: '1@40' } }] })
      .add({ tid: 60n, records: [{ oid: 2, data: 'again' }] })
    const store = await temp.current.open(temp.current.write(file.bytes))
    expect(await textOf(store, 1, 40n)).toBe('one')
    expect(await textOf(store, 1, 50n)).toBe('one')
    expect((await store.load([oid(1)], TID_MAX))[0]!.tid).toBe(50n)
    expect(Buffer.from((await store.loadPart(oid(1), TID_MAX, 1, 9))!.bytes).toString()).toBe('ne')
    expect(await textOf(store, 2, 30n)).toBe('two')
    expect(await textOf(store, 2, 50n)).toBeUndefined()
    expect(await store.loadPart(oid(2), tid(50n), 0, 1)).toBeUndefined()
    expect(await textOf(store, 2)).toBe('again')
    expect((await allTransactions(store)).map(({ bytes }) => bytes)).toEqual([3, 6, 4, 3, 3, 5])
  })

  test('is read after a pack, without its undone transactions', async () => {
    const file = new HandFile('FS21')
      .add({ tid: 10n, status: 'p', records: [{ oid: 1, data: 'packed', prev: 0 }] })
      .add({
        tid: 20n,
        status: 'u',
        records: [
          { oid: 1, data: 'undone' },
          { oid: 9, data: 'never' },
        ],
      })
      .add({ tid: 30n, records: [] })
      .add({ tid: 40n, status: 'u', records: [{ oid: 1, data: 'undone' }] })
    const store = await temp.current.open(temp.current.write(file.bytes))
    expect(await textOf(store, 1)).toBe('packed')
    expect(await textOf(store, 9)).toBeUndefined()
    expect((await allTransactions(store)).map(({ tid }) => tid)).toEqual([10n, 30n])
    expect(await allChanges(store)).toEqual([{ tid: 10n, oids: [1] }])
    expect(await store.lastTid()).toBe(30n)
  })

  test.each([
    [
      'a transaction that was not finished',
      () => history().add({ tid: 40n, status: 'c', records: [{ oid: 1, data: 'x' }] }).bytes,
      'a transaction is unfinished',
    ],
    ['half a header', () => Buffer.concat([history().bytes, Buffer.alloc(22, 1)]), 'header is cut off'],
    ['zeros', () => Buffer.concat([history().bytes, Buffer.alloc(5000)]), 'zeros in place of a transaction'],
    [
      'half a transaction',
      () =>
        history()
          .add({ tid: 40n, records: [{ oid: 1, data: 'lost' }] })
          .bytes.subarray(0, -3),
      'cut off',
    ],
  ])('that ends in %s is read up to there, and says so', async (_, bytes, warning) => {
    const store = await temp.current.open(temp.current.write(bytes()))
    expect(await textOf(store, 1)).toBe('eins')
    expect(await store.lastTid()).toBe(30n)
    expect(temp.current.warnings).toEqual([expect.stringContaining(warning)])
    expect(temp.current.warnings[0]).toContain(`at byte ${history().bytes.length}`)
  })

  test('with many transactions and big records is read in the requested order', async () => {
    const file = new HandFile()
    for (let i = 1; i <= 700; i++)
      file.add({
        tid: BigInt(i),
        records: [
          { oid: i, data: `${i}`.repeat(1 + (i % 40)) },
          { oid: 0, data: `at ${i}` },
        ],
      })
    const store = await temp.current.open(temp.current.write(file.bytes))
    const oids = Array.from({ length: 2500 }, (_, i) => oid((i * 7919) % 701))
    const revisions = await store.load(oids, TID_MAX)
    for (const [i, value] of oids.entries())
      expect(Buffer.from(revisions[i]!.record).toString()).toBe(
        value === 0 ? 'at 700' : `${value}`.repeat(1 + (value % 40)),
      )
    expect(await allTransactions(store)).toHaveLength(700)
    expect((await store.revisions(oid(0)))[0]).toBe(700n)
  })

  test('with long histories of some objects reads the newest revision of each', async () => {
    const file = new HandFile()
    const changedOften = [3, 4, 8]
    file.add({ tid: 1n, records: Array.from({ length: 12 }, (_, i) => ({ oid: i, data: `first ${i}` })) })
    for (let i = 2; i <= 120; i++)
      file.add({ tid: BigInt(i), records: changedOften.map(oid => ({ oid, data: `${oid} at ${i}` })) })
    const store = await temp.current.open(temp.current.write(file.bytes))
    const oids = [11, 0, 8, 1, 2, 3, 4, 5, 6, 8, 7, 9, 10, 12].map(value => oid(value))
    for (const at of [1, 2, 50, 120]) {
      const texts = (await store.load(oids, tid(BigInt(at)))).map(revision => revision?.record.toString())
      expect(texts).toEqual(
        oids.map(oid => {
          if (oid === 12) return undefined
          return changedOften.includes(oid) && at > 1 ? `${oid} at ${at}` : `first ${oid}`
        }),
      )
    }
  })

  test('rejects all operations after close', async () => {
    const store = await temp.current.open(temp.current.write(history().bytes))
    await store.close()
    await store.close()
    await expect(store.load([oid(1)], TID_MAX)).rejects.toThrow(StoreError)
    await expect(store.loadPart(oid(1), TID_MAX, 0, 1)).rejects.toThrow('was closed')
    await expect(store.lastTid()).rejects.toThrow('was closed')
    await expect(allTransactions(store)).rejects.toThrow('was closed')
    await expect(allChanges(store)).rejects.toThrow('was closed')
  })
})

describe('a FileStorage that another process writes', () => {
  test('shows new transactions once they are complete', async () => {
    const file = history()
    const path = temp.current.write(file.bytes)
    const store = await temp.current.open(path)
    const before = file.bytes.length
    file.add({
      tid: 40n,
      records: [
        { oid: 1, data: 'new' },
        { oid: 5, data: 'five' },
      ],
    })
    const added = Buffer.from(file.bytes.subarray(before))
    added[16] = 'c'.charCodeAt(0)
    appendFileSync(path, added.subarray(0, 50))
    expect(await store.lastTid()).toBe(30n)
    appendFileSync(path, added.subarray(50))
    expect(await store.lastTid()).toBe(30n)
    expect(await textOf(store, 5)).toBeUndefined()
    writeFileSync(path, file.bytes)
    expect(await textOf(store, 5)).toBe('five')
    expect(await store.lastTid()).toBe(40n)
    expect(await allChanges(store, 30n)).toEqual([{ tid: 40n, oids: [1, 5] }])
    expect(temp.current.warnings).toEqual([])
  })

  test('shows whole transactions only, during commits and aborts of ZODB', async () => {
    const path = temp.current.write('FS30')
    const store = await temp.current.open(path)
    const appender = fork(join(import.meta.dirname, 'appender.ts'), [path])
    const exited = new Promise(resolve => appender.on('exit', resolve))
    const oids = Array.from({ length: 20 }, (_, i) => oid(i))
    const seen = new Set<bigint>()
    let last = TID_NONE
    while (last < 300n) {
      const at = await store.lastTid()
      expect(at).toBeGreaterThanOrEqual(last)
      last = at
      seen.add(at)
      const records = await store.load(oids, at)
      const expected = at === 0n ? '' : `at ${at} `
      expect(new Set(records.map(revision => revision?.record.toString().slice(0, expected.length)))).toEqual(
        new Set([at === 0n ? undefined : expected]),
      )
    }
    expect(await exited).toBe(0)
    expect(seen.size).toBeGreaterThan(5)
    expect((await allTransactions(store)).map(({ tid }) => tid)).toEqual(
      Array.from({ length: 300 }, (_, i) => BigInt(i + 1)),
    )
  })

  test('that aborted a transaction shows the one that took its place', async () => {
    const path = temp.current.write(
      history().add({ tid: 40n, status: 'c', records: [{ oid: 1, data: 'lost' }] }).bytes,
    )
    const store = await temp.current.open(path)
    truncateSync(path, history().bytes.length)
    expect(await textOf(store, 1)).toBe('eins')
    writeFileSync(path, history().add({ tid: 41n, records: [{ oid: 1, data: 'kept' }] }).bytes)
    expect(await textOf(store, 1)).toBe('kept')
  })

  test('is reopened when a pack has replaced the file', async () => {
    const path = temp.current.write(history().bytes)
    const store = await temp.current.open(path)
    const packed = new HandFile()
      .add({ tid: 30n, status: 'p', records: [{ oid: 1, data: 'eins' }] })
      .add({ tid: 40n, records: [{ oid: 4, data: 'four' }] })
    renameSync(path, `${path}.old`)
    expect(await store.lastTid()).toBe(30n)
    renameSync(temp.current.write(packed.bytes, 'Data.fs.pack'), path)
    expect(await store.lastTid()).toBe(40n)
    expect(await textOf(store, 4)).toBe('four')
    expect(await textOf(store, 1, 30n)).toBe('eins')
    expect(await textOf(store, 1, 10n)).toBeUndefined()
    expect(await textOf(store, 2)).toBeUndefined()
  })

  test('is read again when it was truncated and extended', async () => {
    const path = temp.current.write(history().bytes)
    const store = await temp.current.open(path)
    const other = new HandFile().add({ tid: 10n, records: [{ oid: 1, data: 'other' }] })
    writeFileSync(path, other.bytes)
    expect(await textOf(store, 1, 35n)).toBe('other')
    expect(await store.lastTid()).toBe(10n)
    truncateSync(path, 4)
    writeFileSync(path, history().add({ tid: 31n, description: 'x'.repeat(9999) }).bytes)
    expect(await textOf(store, 1)).toBe('eins')
  })

  test('that damages it is detected, and known transactions stay readable', async () => {
    const path = temp.current.write(history().bytes)
    const store = await temp.current.open(path)
    appendFileSync(path, Buffer.alloc(100, 255))
    await expect(store.lastTid()).rejects.toThrow(CannotOpenError)
    expect(await textOf(store, 1, 30n)).toBe('eins')
  })

  test('supports many concurrent reads', async () => {
    const file = history()
    const path = temp.current.write(file.bytes)
    const [first, second] = [await temp.current.open(path), await temp.current.open(path)]
    writeFileSync(path, file.add({ tid: 40n, records: [{ oid: 1, data: 'vier' }] }).bytes)
    const texts = await Promise.all(
      Array.from({ length: 40 }, (_, i) => textOf(i % 2 === 0 ? first : second, 1)),
    )
    expect(new Set(texts)).toEqual(new Set(['vier']))
  })
})
