/** `Measuring` (store/capabilities.ts) as tests. */
import { describe, expect, test } from 'vitest'
import type { Measuring } from '../../../store/capabilities.ts'
import type { StoredRevision, StoredState } from '../../../store/stored-revisions.ts'
import { ROOT_OID, TID_MAX, TID_NONE } from '../../../store/ids.ts'
import { keptMoments } from '../../../store/kept-moments.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'
import { counted } from './counted.ts'
import { changeOf, commitChain, mark } from './graph.ts'

const BYTES = 20_000
/** Enough to be shared, not copied. */
const LONG = 400_000

export function measuringContract(name: string, make: MakeDatabase): void {
  describe(`${name}, measuring`, () => {
    const opened = new OpenedDatabase(make)
    const measuring = (): Measuring => opened.offered('measuring')

    test('additions are reported by range, the present state in total', async () => {
      const { tid, oids } = await commitChain(opened.store, 5, BYTES)
      const last = await opened.store.commit({ changes: [changeOf(oids[0] ?? ROOT_OID, tid, [], BYTES)] })
      expect(await measuring().added(tid, last)).toMatchObject({ revisions: 1 })
      expect((await measuring().added(TID_NONE, last)).revisions).toBe(7)
      expect((await measuring().added(TID_NONE, tid)).storedBytes).toBeGreaterThanOrEqual(5 * BYTES)
      const all = await measuring().all()
      expect(all.revisions).toBe(7)
      expect(all.bytes).toBeGreaterThanOrEqual(6 * BYTES)
      expect((await measuring().space()).totalBytes).toBeGreaterThan(0)
    })

    test('a reader reads up to the largest transaction', async () => {
      const { tid, oids } = await commitChain(opened.store, 1, BYTES)
      const reader = measuring().reader()
      try {
        for await (const batch of reader.revisions(oids, TID_MAX))
          expect(batch.map(revision => revision.tid)).toEqual([tid])
      } finally {
        reader.close()
      }
    })

    test('sums equal a full count after every commit, and replaced data counts as past', async () => {
      const { tid, oids } = await commitChain(opened.store, 5, BYTES)
      const [first = ROOT_OID, second = ROOT_OID] = oids
      expect(await measuring().sums()).toEqual(await counted(opened.store.capabilities))
      expect(await measuring().sums()).toMatchObject({ objects: 6, past: { revisions: 0 } })
      const again = await opened.store.commit({ changes: [changeOf(first, tid, [], LONG)] })
      const last = await opened.store.commit({
        changes: [changeOf(first, again, null), changeOf(second, tid, [], 7)],
      })
      const sums = await measuring().sums()
      expect(sums).toEqual(await counted(opened.store.capabilities))
      expect(sums).toMatchObject({ objects: 6, all: { revisions: 9 }, past: { revisions: 3 } })
      const { replacedBytes } = await measuring().added(tid, last)
      expect(replacedBytes).toBe(sums.past.rowBytes + sums.past.bulkBytes)
      await expect(opened.store.commit({ changes: [changeOf(second, tid, [], 9)] })).rejects.toThrow()
      expect(await measuring().sums(), 'after a conflict').toEqual(sums)
      await opened.store.close()
      await opened.reopen()
      expect(await measuring().sums(), 'opened again').toEqual(sums)
    })

    test('the free space is a number of bytes if it is limited', async () => {
      expect((await measuring().availableBytes()) ?? 1).toBeGreaterThan(0)
    })

    test('the estimate of a pack subtracts unseen revisions and unreachable objects', async () => {
      const { tid, oids } = await commitChain(opened.store, 5, BYTES)
      const last = await opened.store.commit({ changes: [changeOf(oids[0] ?? ROOT_OID, tid, [], BYTES)] })
      const left = await measuring().left(keptMoments(last, []), mark)
      expect(left.revisions).toBe(2)
      expect((await measuring().left(keptMoments(TID_NONE, []), mark)).revisions).toBe(7)
      expect((await measuring().all()).revisions, 'nothing is dropped').toBe(7)
    })

    test('bytes that revisions share are counted once', async () => {
      const { tid, oids } = await commitChain(opened.store, 1, LONG)
      const [oid = ROOT_OID] = oids
      const before = await measuring().all()
      const { first } = await opened.store.allocateOids(1)
      const body = { oid, tid, off: 0, len: LONG }
      await opened.store.commit({
        changes: [{ oid: first, base: TID_NONE, record: { head: new Uint8Array(), body } }],
      })
      expect((await measuring().all()).bytes - before.bytes).toBeLessThan(LONG / 2)
    })

    test('a reader gives the revisions of objects in order, and their records', async () => {
      const { tid, oids } = await commitChain(opened.store, 3)
      const [oid = ROOT_OID, second = ROOT_OID] = oids
      const last = await opened.store.commit({ changes: [changeOf(oid, tid, null)] })
      const reader = measuring().reader()
      try {
        expect(await reader.totals()).toMatchObject({ lastTid: last })
        const found: StoredRevision[] = []
        for await (const batch of reader.revisions([oid, second], last)) found.push(...batch)
        expect(found.map(({ oid, tid, isTombstone }) => ({ oid, tid, isTombstone }))).toEqual([
          { oid, tid: last, isTombstone: true },
          { oid, tid, isTombstone: false },
          { oid: second, tid, isTombstone: false },
        ])
        expect(await reader.exist([oid, second], last)).toEqual([false, true])
        expect(await reader.exist([oid, second], tid)).toEqual([true, true])
        const [whole, absent] = await reader.records([
          { oid: second, tid },
          { oid: second, tid: last },
        ])
        expect(whole).toMatchObject({ size: JSON.stringify([oids[2]]).length })
        expect(absent).toBeUndefined()
        const [start] = await reader.records([{ oid: second, tid }], 1)
        expect(start).toMatchObject({ bytes: Buffer.from('[') })
        const states: StoredState[] = []
        for await (const batch of reader.states(oid, second + 1, last)) states.push(...batch)
        expect(states.map(({ oid, tid, start }) => ({ oid, tid, isThere: start !== undefined }))).toEqual([
          { oid, tid: last, isThere: false },
          { oid, tid, isThere: true },
          { oid: second, tid, isThere: true },
        ])
        const ahead = states[2]?.start
        expect(
          ahead instanceof Error ? ahead : ahead && { ...ahead, bytes: Buffer.from(ahead.bytes) },
        ).toEqual(whole)
        for await (const batch of reader.states(oid, second, tid))
          expect(batch.map(state => state.tid)).toEqual([tid])
        const all: number[] = []
        for await (const batch of reader.oids()) all.push(...batch)
        expect(all).toEqual([ROOT_OID, ...oids])
      } finally {
        reader.close()
      }
    })
  })
}
