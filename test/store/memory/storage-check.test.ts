/** What the check of an index and a Bulk finds of damage, over those in memory. */
import { beforeEach, describe, expect, test } from 'vitest'
import type { StorageDamage } from '../../../store/capabilities.ts'
import { ROOT_OID, TID_MAX, type Oid, type Tid } from '../../../store/ids.ts'
import { checkStorage } from '../../../store/indexed/check/storage-check.ts'
import type { CheckedIndex } from '../../../store/indexed/index-scan.ts'
import { MemoryDatabase, MemoryReader, MemoryStore } from '../../../store/memory/memory-store.ts'
import { changeOf, commitChain } from '../contract/graph.ts'

/** Enough to be in the bulk. */
const LONG = 400_000

describe('the check of an index and a Bulk', () => {
  let database: MemoryDatabase
  let store: MemoryStore
  let first: Tid
  let last: Tid
  let oid: Oid
  beforeEach(async () => {
    database = new MemoryDatabase()
    store = new MemoryStore(database)
    const { tid, oids } = await commitChain(store, 3, LONG)
    first = tid
    oid = oids[0] ?? ROOT_OID
    last = await store.commit({ changes: [changeOf(oid, first, [], LONG)] })
  })

  const found = async (
    { upTo = TID_MAX, everyByte = true }: { readonly upTo?: Tid; readonly everyByte?: boolean } = {},
    index: CheckedIndex = database.index,
  ): Promise<readonly StorageDamage[]> => {
    const damages: StorageDamage[] = []
    const options = { upTo, everyByte, progress: () => {} }
    for await (const damage of checkStorage({ index, bulk: database.bulk }, options)) damages.push(damage)
    return damages
  }

  test('an intact store has no findings', async () => {
    expect(await found()).toEqual([])
  })

  test('a changed row is reported with its transaction until a repair removes it', async () => {
    database.index.rot(oid)
    expect(await found()).toMatchObject([
      { kind: 'revision', oid, tid: last, isCurrent: true },
      { kind: 'transaction', tid: last },
    ])
    expect(await found({ upTo: first })).toEqual([])
    const reader = new MemoryReader(database)
    await expect(reader.load([oid], TID_MAX)).rejects.toThrow('checksum of its index entry')
    await store.close()
    const repair = await reader.capabilities.checking?.beginRepair('a test')
    await repair?.mend(true)
    await repair?.end()
    expect(await found()).toEqual([])
    expect((await reader.load([oid], TID_MAX))[0]?.tid).toBe(first)
  })

  test('a missing row is detected by its transaction', async () => {
    database.index.damage(oid, () => undefined)
    expect(await found()).toMatchObject([
      { kind: 'transaction', tid: last, reason: expect.stringMatching(/it has 0 objects/) as string },
    ])
  })

  test('a missing transaction is detected by its revisions', async () => {
    database.index.forget(BigInt64Array.of(first))
    expect(await found()).toMatchObject([
      { kind: 'transaction', tid: first, reason: expect.stringMatching(/its entry is missing/) as string },
    ])
  })

  test.each([true, false])('lost bulk bytes are those of a record; every byte: %s', async everyByte => {
    const { length } = await partOf(0)
    // The whole of it: without reading every byte a check looks at the last unit of each run.
    const [row] = database.index.find([{ oid, tid: last }])
    const [pos, len] = [row?.pos ?? 0, row?.len ?? 0]
    database.bulk.release([[pos + 4096, pos + len]])
    const head = row?.head?.length ?? 0
    expect(await found({ everyByte })).toMatchObject([
      { kind: 'data', oid, tid: last, isCurrent: true, lo: head + 4096, hi: head + len },
    ])
    expect(length).toBeGreaterThanOrEqual(LONG)
  })

  test('revisions that a pack drops during the check are not damage', async () => {
    let isDropped = false
    const drop = (): void => {
      if (isDropped) return
      isDropped = true
      const [row] = database.index.find([{ oid, tid: first }])
      database.index.drop(Float64Array.of(oid), BigInt64Array.of(first))
      database.bulk.release([[row?.pos ?? 0, (row?.pos ?? 0) + (row?.len ?? 0)]])
    }
    const index = new Proxy(database.index, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => {
          const result: unknown = Reflect.apply(value, target, args)
          // After the pages were read, before they are looked at.
          if (name === 'checkedTransactions' || name === 'checkedRevisions') drop()
          return result
        }
      },
    })
    expect(await found({}, index)).toEqual([])
    expect(isDropped).toBe(true)
  })

  const partOf = async (off: number): Promise<Uint8Array> =>
    (await store.loadPart(oid, TID_MAX, off, 2 * LONG))?.bytes ?? new Uint8Array()
})
