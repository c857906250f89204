import { readFileSync } from 'node:fs'
import { assert, asyncProperty, integer, nat, uint8Array } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CannotOpenError, CorruptRecordError, StoreError } from '../../../store/errors.ts'
import { openFileStorage } from '../../../store/filestorage/file-storage.ts'
import { formatTid, oid, TID_MAX, type Oid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import { readFileStorage, type FileStorageTransaction } from '../../tools/file-storage-reader.ts'
import { FIXTURES } from '../../tools/record-fixtures.ts'
import { HandFile } from '../../tools/zodb-file.ts'
import { fileStorageOf, madeUpHistory } from '../../tools/zodb-history.ts'
import { allChanges, allTransactions, temporary, textOf } from './temporary.ts'

const temp = temporary()

/** Reads all that a store says it has; damage may only show as a StoreError. The oids whose records were read. */
async function readAll(store: Store): Promise<Oid[]> {
  const oids = new Set<Oid>()
  for (const change of await allChanges(store)) for (const oid of change.oids) oids.add(oid)
  await allTransactions(store)
  const readable: Oid[] = []
  for (const oid of oids)
    try {
      await store.load([oid], TID_MAX)
      await store.loadPart(oid, TID_MAX, 1, 100)
      readable.push(oid)
    } catch (error) {
      expect(error).toBeInstanceOf(CorruptRecordError)
    }
  return readable
}

/** Each object is what the last of these transactions made of it. */
async function expectNewest(store: Store, transactions: readonly FileStorageTransaction[]): Promise<void> {
  const newest = new Map(transactions.flatMap(({ records }) => records.map(({ oid, data }) => [oid, data!])))
  const loaded = await store.load(
    [...newest.keys()].map(value => oid(value)),
    TID_MAX,
  )
  for (const [i, data] of [...newest.values()].entries())
    expect(Buffer.compare(data, loaded[i]!.record)).toBe(0)
}

/** Opens and reads a damaged file: it may fail, but only as a StoreError. */
async function expectNothingWorse(bytes: Uint8Array): Promise<void> {
  const path = temp.current.write(bytes)
  try {
    // A cache would remember the file before.
    const store = await openFileStorage(path, { cacheDirectory: '/dev/null/none' })
    try {
      await readAll(store)
    } finally {
      await store.close()
    }
  } catch (error) {
    expect(error).toBeInstanceOf(StoreError)
  }
}

describe('a FileStorage cut off', () => {
  const { path, name } = FIXTURES[0]!
  test(`at every 1000th byte of ${name} is read up to its last whole transaction`, async () => {
    const whole = readFileSync(path)
    const transactions = [...readFileStorage(path)]
    let end = 4
    const ends = transactions.map(({ user, description, extension, records }) => {
      const heads = 23 + user.length + description.length + extension.length + 8
      return (end += heads + records.reduce((sum, { data }) => sum + 42 + data!.length, 0))
    })
    let compared = -1
    for (let length = 0; length < whole.length; length += 1000) {
      const cut = temp.current.write(whole.subarray(0, length))
      if (length === 0) {
        await expect(temp.current.open(cut)).rejects.toThrow(CannotOpenError)
        continue
      }
      const store = await openFileStorage(cut, { cacheDirectory: '/dev/null/none' })
      const kept = ends.filter(end => end <= length).length
      expect(await store.lastTid()).toBe(transactions[kept - 1]?.tid ?? 0n)
      expect(await allTransactions(store)).toHaveLength(kept)
      // The data need comparing once for each number of transactions.
      if (kept > compared) await expectNewest(store, transactions.slice(0, kept))
      compared = kept
      await store.close()
    }
  })

  test('at every byte of a small one is read up to its last whole transaction', async () => {
    const whole = new HandFile().add({ tid: 1n, records: [{ oid: 1, data: 'a' }] })
    const first = whole.bytes.length
    whole.add({
      tid: 2n,
      description: 'b',
      records: [
        { oid: 2, data: 'bb' },
        { oid: 1, data: null },
      ],
    })
    for (let length = 4; length < whole.bytes.length; length++) {
      const cut = temp.current.write(whole.bytes.subarray(0, length))
      const store = await openFileStorage(cut, { cacheDirectory: '/dev/null/none' })
      expect(await store.lastTid()).toBe(length < first ? 0n : 1n)
      await store.close()
    }
  })
})

describe('a FileStorage with wrong bytes', () => {
  const history = madeUpHistory().slice(0, 12)
  const whole = Buffer.from(fileStorageOf(history))

  test('in one place causes only errors or other data', async () => {
    await assert(
      asyncProperty(nat(whole.length - 1), integer({ min: 1, max: 255 }), async (pos, flip) => {
        const bytes = Buffer.from(whole)
        bytes[pos]! ^= flip
        await expectNothingWorse(bytes)
      }),
      { numRuns: 300 },
    )
  })

  test('among the headers causes only errors or other data', async () => {
    const file = new HandFile().add({ tid: 1n, records: [{ oid: 1, data: 'a', name: 'a' }] })
    file.add({
      tid: 2n,
      description: 'b',
      records: [
        { oid: 2, data: 'bb' },
        { oid: 1, data: { sameAs: 'a' } },
      ],
    })
    for (let pos = 4; pos < file.bytes.length; pos++)
      for (const flip of [0x01, 0x80]) {
        const bytes = Buffer.from(file.bytes)
        bytes[pos]! ^= flip
        await expectNothingWorse(bytes)
      }
  })

  test('in many places causes only errors or other data', async () => {
    await assert(
      asyncProperty(
        nat(whole.length - 1),
        uint8Array({ minLength: 1, maxLength: 300 }),
        async (pos, noise) => {
          const bytes = Buffer.from(whole)
          bytes.set(noise.subarray(0, bytes.length - pos), pos)
          await expectNothingWorse(bytes)
        },
      ),
      { numRuns: 200 },
    )
  })

  test('only is an error or empty', async () => {
    await assert(
      asyncProperty(uint8Array({ maxLength: 500 }), async noise =>
        expectNothingWorse(Buffer.concat([Buffer.from('FS30'), noise])),
      ),
      { numRuns: 200 },
    )
  })
})

describe('damage in a FileStorage is reported with its position', () => {
  const at4 = (change: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(
      new HandFile().add({ tid: 5n, records: [{ oid: 1, data: 'abc' }] }).add({ tid: 6n }).bytes,
    )
    change(bytes)
    return bytes
  }
  test.each([
    ['a status that there is not', at4(bytes => bytes.write('x', 4 + 16)), "byte 4: a transaction's status"],
    [
      'a transaction shorter than its head',
      at4(bytes => bytes.writeBigUInt64BE(22n, 4 + 8)),
      'byte 4: a transaction is shorter',
    ],
    [
      'lengths that differ',
      at4(bytes => bytes.writeUInt8(9, 4 + 23 + 45 + 7)),
      "byte 4: a transaction's lengths",
    ],
    [
      'a tid that is not later',
      at4(bytes => bytes.writeBigUInt64BE(5n, 4 + 23 + 45 + 8)),
      'byte 80: a transaction id',
    ],
    ['a tid beyond 2^63', at4(bytes => bytes.writeUInt8(255, 4)), 'byte 4: a transaction id'],
    [
      'a record longer than its transaction',
      at4(bytes => bytes.writeUInt8(4, 27 + 41)),
      'byte 27: a record does not fit',
    ],
    [
      'a record shorter than its transaction',
      at4(bytes => bytes.writeUInt8(2, 27 + 41)),
      "byte 71: a record's header does not fit",
    ],
    [
      'a record of another transaction',
      at4(bytes => bytes.writeUInt8(7, 27 + 15)),
      'byte 27: a record carries the id of another',
    ],
    ['a record of a version', at4(bytes => bytes.writeUInt8(1, 27 + 33)), 'at byte 27'],
  ])('%s', async (_, bytes, message) => {
    const path = temp.current.write(bytes)
    await expect(temp.current.open(path)).rejects.toThrow(CannotOpenError)
    await expect(temp.current.open(path)).rejects.toThrow(message)
  })
})

describe('back pointers', () => {
  test.each([
    ['to their own record', (at: number) => at],
    ['forwards', (at: number) => at + 50],
    ['before the first transaction', () => 2],
    ['beyond the file', () => 2 ** 52],
    ['to no record', (at: number) => at - 3],
  ])('that lead %s damage their object and no other', async (_, target) => {
    const file = new HandFile().add({
      tid: 1n,
      records: [
        { oid: 1, data: 'one' },
        { oid: 2, data: 'two' },
      ],
    })
    const at = file.bytes.length + 23
    file.add({ tid: 2n, records: [{ oid: 1, data: { back: target(at) } }] })
    file.add({ tid: 3n, records: [{ oid: 2, data: 'zwei' }] })
    const store = await temp.current.open(temp.current.write(file.bytes))
    await expect(store.load([oid(1)], TID_MAX)).rejects.toThrow(CorruptRecordError)
    await expect(store.loadPart(oid(1), TID_MAX, 0, 1)).rejects.toThrow(CorruptRecordError)
    expect(await textOf(store, 1, 1n)).toBe('one')
    expect(await textOf(store, 2)).toBe('zwei')
  })

  test('into the data of a record return the data found there', async () => {
    // A record within a record, which ends where the outer one does not.
    const inner = new HandFile().add({ tid: 1n, records: [{ oid: 1, data: 'inner' }] }).bytes.subarray(27, -8)
    const data = Buffer.concat([inner, Buffer.alloc(500, '.')])
    const file = new HandFile().add({ tid: 1n, records: [{ oid: 2, data, name: 'outer' }] })
    file.add({ tid: 2n, records: [{ oid: 1, data: { back: file.position('outer') + 42 } }] })
    const store = await temp.current.open(temp.current.write(file.bytes))
    const [one, two] = await store.load([oid(1), oid(2)], TID_MAX)
    expect(Buffer.from(one!.record).toString()).toBe('inner')
    expect(Buffer.compare(two!.record, data)).toBe(0)
  })

  test('to the record of another object are damage', async () => {
    const file = new HandFile()
      .add({ tid: 1n, records: [{ oid: 2, data: 'two', name: 'other' }] })
      .add({ tid: 2n, records: [{ oid: 1, data: { sameAs: 'other' } }] })
    const store = await temp.current.open(temp.current.write(file.bytes))
    await expect(store.load([oid(1)], TID_MAX)).rejects.toThrow('there is no record of it')
  })

  test('are followed up to a thousand deep', async () => {
    const file = new HandFile().add({ tid: 1n, records: [{ oid: 1, data: 'deep', name: '1' }] })
    for (let i = 2; i <= 1100; i++)
      file.add({ tid: BigInt(i), records: [{ oid: 1, data: { sameAs: `${i - 1}` }, name: `${i}` }] })
    const store = await temp.current.open(temp.current.write(file.bytes))
    expect(await textOf(store, 1, 1000n)).toBe('deep')
    await expect(textOf(store, 1)).rejects.toThrow('longer than 1000')
    await expect(textOf(store, 1)).rejects.toThrow(formatTid(1100n as never))
  })
})
