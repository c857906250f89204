/** `Packing` (store/capabilities.ts) as tests. */
import { describe, expect, test } from 'vitest'
import type { Packing, PackReport } from '../../../store/capabilities.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import { ROOT_OID, TID_MAX, type Tid } from '../../../store/ids.ts'
import { ALL_MOMENTS, keptMoments, type KeptMoments } from '../../../store/kept-moments.ts'
import type { WritableStore } from '../../../store/store.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'
import { counted } from './counted.ts'
import { FAILING_MARKER, MARKED } from './failing-mark.ts'
import { changeOf, commitChain, MARKER } from './graph.ts'

const BYTES = 20_000

export function packingContract(name: string, make: MakeDatabase): void {
  describe(`${name}, packing`, () => {
    const opened = new OpenedDatabase(make)
    const packing = (): Packing => opened.offered('packing')
    const pack = async (kept: KeptMoments, signal?: AbortSignal, marker = MARKER): Promise<PackReport> => {
      await packing().keep(kept)
      return await packing().pack({
        kept,
        marker,
        rest: 0,
        spareBytes: 0,
        onProgress: () => {},
        signal,
      })
    }
    const tidsOf = async (oid: Parameters<WritableStore['revisions']>[0]): Promise<readonly Tid[]> =>
      await opened.store.revisions(oid)

    test('before the first pack every moment is kept; kept moments persist', async () => {
      expect(await packing().kept()).toEqual(ALL_MOMENTS)
      const { tid } = await commitChain(opened.store, 1)
      await packing().keep(keptMoments(tid, []))
      await opened.store.close()
      await opened.reopen()
      expect(await packing().kept()).toEqual({ from: tid, earlier: [] })
      expect(await opened.store.isKept?.(tid)).toBe(true)
    })

    test('revisions visible at a kept moment stay, others are dropped', async () => {
      const { tid: first, oids } = await commitChain(opened.store, 1)
      const [oid = ROOT_OID] = oids
      const second = await opened.store.commit({ changes: [changeOf(oid, first, [])] })
      const third = await opened.store.commit({ changes: [changeOf(oid, second, [])] })
      const fourth = await opened.store.commit({ changes: [changeOf(oid, third, [])] })
      const report = await pack(keptMoments(fourth, [second]))
      expect(await tidsOf(oid)).toEqual([fourth, second])
      expect(report.revisionsDropped).toBe(2)
      expect(await opened.store.isKept?.(third)).toBe(false)
      expect(await opened.store.isKept?.(second)).toBe(true)
    })

    test('unmarked objects are dropped entirely, and their space is freed', async () => {
      const { tid, oids } = await commitChain(opened.store, 10, BYTES)
      const [first = ROOT_OID] = oids
      const last = await opened.store.commit({ changes: [changeOf(first, tid, [])] })
      const report = await pack(keptMoments(last, []))
      expect(report.objectsDropped).toBe(9)
      expect(report.bytesAfter).toBeLessThanOrEqual(report.bytesBefore)
      for (const oid of oids.slice(1)) expect(await tidsOf(oid)).toEqual([])
      expect((await opened.store.load([ROOT_OID, first], TID_MAX)).map(found => found?.tid)).toEqual([
        tid,
        last,
      ])
    })

    test('transactions without revisions are dropped, kept moments are not', async () => {
      const { tid: first, oids } = await commitChain(opened.store, 1)
      const [oid = ROOT_OID] = oids
      const second = await opened.store.commit({ changes: [changeOf(oid, first, [])] })
      const third = await opened.store.commit({ changes: [changeOf(oid, second, [])] })
      const report = await pack(keptMoments(third, []))
      const left: Tid[] = []
      for await (const { tid } of opened.store.transactions()) left.push(tid)
      expect(left).toEqual([first, third])
      expect(report.transactionsForgotten).toBe(1)
    })

    test('a tombstone is dropped together with the revisions before it', async () => {
      const { tid, oids } = await commitChain(opened.store, 1)
      const [oid = ROOT_OID] = oids
      const last = await opened.store.commit({
        changes: [changeOf(oid, tid, null), changeOf(ROOT_OID, tid, [])],
      })
      await pack(keptMoments(last, []))
      expect(await tidsOf(oid)).toEqual([])
    })

    test('dropped revisions are subtracted from the sums', async () => {
      const { measuring } = opened.store.capabilities
      if (measuring === undefined) throw new TypeError('no measuring')
      const { tid, oids } = await commitChain(opened.store, 50, BYTES)
      const [first = ROOT_OID, second = ROOT_OID, third = ROOT_OID, fourth = ROOT_OID] = oids
      let base = tid
      for (let count = 0; count < 40; count++)
        base = await opened.store.commit({ changes: [changeOf(first, base, [second], count * 500)] })
      const removed = await opened.store.commit({
        changes: [changeOf(third, tid, []), changeOf(fourth, tid, null)],
      })
      await pack(keptMoments(tid, []))
      expect(await measuring.sums(), 'with nothing to drop').toEqual(await counted(opened.store.capabilities))
      await pack(keptMoments(removed, [tid]))
      expect(await measuring.sums(), 'with an earlier moment').toEqual(
        await counted(opened.store.capabilities),
      )
      await pack(keptMoments(removed, []))
      const sums = await measuring.sums()
      expect(sums).toEqual(await counted(opened.store.capabilities))
      expect(sums).toMatchObject({ objects: 4, all: { revisions: 4 }, past: { revisions: 0 } })
      await opened.store.close()
      await opened.reopen()
      expect(await opened.store.capabilities.measuring?.sums()).toEqual(sums)
    })

    test('a pack from the same moment as the last one marks no objects', async () => {
      const repack = async (kept: KeptMoments): Promise<number> =>
        (await pack(kept, undefined, FAILING_MARKER)).revisionsDropped
      const { tid: first, oids } = await commitChain(opened.store, 3)
      const [oid = ROOT_OID] = oids
      expect(await repack(ALL_MOMENTS), 'before the first pack').toBe(0)
      await expect(repack(keptMoments(first, [])), 'a transaction later').rejects.toThrow(MARKED)
      await expect(repack(ALL_MOMENTS), 'after an interrupted one').rejects.toThrow(MARKED)
      await pack(keptMoments(first, []))
      const second = await opened.store.commit({ changes: [changeOf(oid, first, [])] })
      expect(await repack(keptMoments(first, [])), 'replaced later than kept').toBe(0)
      await expect(repack(keptMoments(second, [first]))).rejects.toThrow(MARKED)
      expect((await pack(keptMoments(second, [first]))).revisionsDropped).toBe(0)
      await opened.store.close()
      await opened.reopen()
      expect(await repack(keptMoments(second, [first])), 'opened again').toBe(0)
      await expect(repack(keptMoments(second, [])), 'a moment was released').rejects.toThrow(MARKED)
      expect((await pack(keptMoments(second, []))).revisionsDropped).toBe(3)
      expect(await repack(keptMoments(second, []))).toBe(0)
    })

    test('commits continue during a pack, and their revisions are kept', async () => {
      const { tid, oids } = await commitChain(opened.store, 200, BYTES)
      const [first = ROOT_OID, second = ROOT_OID] = oids
      const cut = await opened.store.commit({ changes: [changeOf(second, tid, [])] })
      const packed = pack(keptMoments(cut, []))
      const written: Tid[] = []
      let base = tid
      for (let count = 0; count < 5; count++) {
        base = await opened.store.commit({ changes: [changeOf(first, base, [second], BYTES)] })
        written.push(base)
      }
      await packed
      expect(await tidsOf(first)).toEqual([...written.toReversed(), tid])
    })

    test('a record that cannot be marked ends the pack before anything is dropped', async () => {
      const { tid, oids } = await commitChain(opened.store, 2)
      const [oid = ROOT_OID] = oids
      const base = await opened.store.commit({
        changes: [{ oid, base: tid, record: { head: Uint8Array.of(1, 2, 3) } }],
      })
      await expect(pack(keptMoments(base, []))).rejects.toThrow()
      expect(await tidsOf(oid)).toEqual([base, tid])
    })

    test('an abort signal ends it with the reason of the signal', async () => {
      const { tid } = await commitChain(opened.store, 3)
      const reason = new CorruptRecordError(ROOT_OID, tid, 'enough')
      await expect(pack(keptMoments(tid, []), AbortSignal.abort(reason))).rejects.toBe(reason)
    })
  })
}
