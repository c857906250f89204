/** `Spilling` (store/capabilities.ts) as tests. */
import { describe, expect, test } from 'vitest'
import type { Spilling } from '../../../store/capabilities.ts'
import { ConflictError } from '../../../store/errors.ts'
import { oid as toOid, ROOT_OID, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import { keptMoments } from '../../../store/kept-moments.ts'
import type { ObjectChange } from '../../../store/changes.ts'
import type { Store, TransactionInfo } from '../../../store/store.ts'
import { counted, extraRowBytes } from './counted.ts'
import { changeOf, commitChain, MARKER } from './graph.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

/** Long enough to lie outside of the rows. */
const LENGTH = 100_000

const changeTo = (oid: Oid, base: Tid, value: number, length = LENGTH): ObjectChange => ({
  oid,
  base,
  record: { head: Uint8Array.of(value), body: [new Uint8Array(length).fill(value)] },
})

export function spillingContract(name: string, make: MakeDatabase): void {
  describe(`${name}, spilling`, () => {
    const opened = new OpenedDatabase(make)
    const spilling = (): Spilling => {
      const { spilling: found } = opened.store.capabilities
      if (found === undefined) throw new TypeError('no spilling')
      return found
    }
    const valueAt = async (oid: Oid, at: Tid): Promise<number | undefined> => {
      const record = await opened.loadOne(oid, at)
      const values = new Set(record)
      return values.size > 1 ? -1 : record?.[0]
    }
    const transactionsOf = async (store: Store): Promise<TransactionInfo[]> => {
      const infos: TransactionInfo[] = []
      for await (const info of store.transactions()) infos.push(info)
      return infos
    }
    const withReader = async <T>(use: (reader: Store) => Promise<T>): Promise<T> => {
      const reader = await opened.database.openReader()
      try {
        return await use(reader)
      } finally {
        await reader.close()
      }
    }

    test('a part is visible at the tid of its transaction only', async () => {
      const { store } = opened
      const { oid, tid: before } = await opened.add(Uint8Array.of(1))
      const added = (await store.allocateOids(1)).first
      const tid = await spilling().spill([changeTo(oid, before, 2), changeTo(added, TID_NONE, 3)])
      expect(tid).toBeGreaterThan(before)
      expect([await valueAt(oid, tid), await valueAt(added, tid)]).toEqual([2, 3])
      expect([await valueAt(oid, before), await valueAt(added, before)]).toEqual([1, undefined])
      await withReader(async reader => {
        expect(await reader.lastTid()).toBe(before)
        expect((await transactionsOf(reader)).map(info => info.tid)).toEqual([before])
        for await (const change of reader.changes(before)) expect(change).toBeUndefined()
        expect(await reader.revisions(oid)).toEqual([before])
      })
      await spilling().drop()
    })

    test('a commit completes its parts as one transaction; later parts replace earlier ones', async () => {
      const { store } = opened
      const { oid, tid: before } = await opened.add(Uint8Array.of(1))
      const first = await spilling().spill([changeTo(oid, before, 2)])
      const other = (await store.allocateOids(1)).first
      const second = await spilling().spill([changeTo(oid, first, 3, 50), changeTo(other, TID_NONE, 4)])
      const last = (await store.allocateOids(1)).first
      const { measuring } = store.capabilities
      expect(await measuring?.sums(), 'parts do not count').toMatchObject({
        objects: 1,
        all: { revisions: 1 },
      })
      const tid = await store.commit({ changes: [changeTo(last, TID_NONE, 5)], description: 'in parts' })
      expect(await measuring?.sums()).toEqual(measuring && (await counted(opened.store.capabilities)))
      expect([second, tid]).toEqual([first, first])
      expect(await Promise.all([oid, other, last].map(each => valueAt(each, tid)))).toEqual([3, 4, 5])
      await withReader(async reader => {
        const info = (await transactionsOf(reader)).at(-1)
        expect(info).toMatchObject({
          tid,
          description: 'in parts',
          objects: 3,
          bytes: 51 + 2 * (LENGTH + 1) + 3 * extraRowBytes(opened.store.capabilities),
        })
        const changed: Oid[] = []
        for await (const { oids } of reader.changes(before)) changed.push(...oids)
        expect(changed).toEqual([oid, other, last])
      })
      expect(await opened.add(Uint8Array.of(6))).toMatchObject({ oid: toOid(last + 1) })
    })

    test('a commit without changes completes its parts', async () => {
      const { oid, tid: before } = await opened.add(Uint8Array.of(1))
      const tid = await spilling().spill([changeTo(oid, before, 2)])
      expect(await opened.store.commit({ changes: [] })).toBe(tid)
      expect(await opened.store.lastTid()).toBe(tid)
    })

    test('dropped parts leave nothing, and others take their place', async () => {
      const { store } = opened
      const { oid, tid: before } = await opened.add(Uint8Array.of(1))
      const spilled = await spilling().spill([changeTo(oid, before, 2)])
      expect(await valueAt(oid, spilled)).toBe(2)
      await spilling().drop()
      expect(await valueAt(oid, spilled)).toBe(1)
      const tid = await store.commit({ changes: [changeTo(oid, before, 3)] })
      expect(await valueAt(oid, tid)).toBe(3)
      expect(await store.lastTid()).toBe(tid)
      expect(await store.revisions(oid)).toEqual([tid, before])
    })

    test('parts without a commit are removed when the database is reopened', async () => {
      const { oid, tid: before } = await opened.add(Uint8Array.of(1))
      await spilling().spill([changeTo(oid, before, 2)])
      await opened.store.close()
      await withReader(async reader => expect(await reader.lastTid()).toBe(before))
      await opened.reopen()
      expect(await opened.store.lastTid()).toBe(before)
      const tid = await opened.store.commit({ changes: [changeTo(oid, before, 3)] })
      expect(await valueAt(oid, tid)).toBe(3)
    })

    test('a part based on another state is refused, and earlier parts stay', async () => {
      const { oid, tid: before } = await opened.add(Uint8Array.of(1))
      const tid = await spilling().spill([changeTo(oid, before, 2)])
      await expect(spilling().spill([changeTo(oid, before, 3)])).rejects.toThrow(ConflictError)
      expect(await valueAt(oid, tid)).toBe(2)
      await opened.store.commit({ changes: [changeTo(oid, tid, 4)] })
      expect(await valueAt(oid, tid)).toBe(4)
    })

    test('a concurrent pack keeps parts', async () => {
      const { store } = opened
      const { tid: before, oids } = await commitChain(store, 1)
      const [oid = ROOT_OID] = oids
      const added = (await store.allocateOids(1)).first
      const tid = await spilling().spill([changeOf(oid, before, [added]), changeTo(added, TID_NONE, 2)])
      const kept = keptMoments(before, [])
      await store.capabilities.packing?.keep(kept)
      await store.capabilities.packing?.pack({
        kept,
        marker: MARKER,
        rest: 0,
        spareBytes: 0,
        onProgress: () => {},
      })
      expect(await store.commit({ changes: [] })).toBe(tid)
      expect(await valueAt(added, tid)).toBe(2)
    })
  })
}
