import { StoreError } from '../../../store/errors.ts'
import { oid as toOid, TID_MAX, TID_NONE, tid as toTid, type Tid } from '../../../store/ids.ts'
import { expectAll } from '../history.ts'
import { assert, asyncProperty, integer } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { writeRandomHistory } from './random-history.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

/** What a commit stores, and which ids it uses. */
export function commitContract(name: string, make: MakeDatabase): void {
  describe(`${name}: commits`, () => {
    const at = new OpenedDatabase(make)

    test('random transactions match a model, before and after a reopening', async () => {
      await assert(
        asyncProperty(integer(), async seed => {
          const other = await make()
          try {
            const written = await other.open()
            const history = await writeRandomHistory(written, seed)
            await expectAll(written, history)
            await written.close()
            const again = await other.open()
            await expectAll(again, history)
            await again.close()
          } finally {
            await other.remove()
          }
        }),
        { numRuns: 4 },
      )
    })

    test('texts preserve bytes that are not UTF-8, in their decoded form', async () => {
      const texts = ['caf\udce9', '\udcc3\udca9', 'grün \ud800', '\udc80\udcff\0x', '']
      for (const [index, text] of texts.entries()) {
        const record = { head: Uint8Array.of(index) }
        const changes = [{ oid: (await at.store.allocateOids(1)).first, base: TID_NONE, record }]
        await at.store.commit({ changes, user: text, description: text })
      }
      await at.store.close()
      await at.reopen()
      const read: string[][] = []
      for await (const { user, description } of at.store.transactions()) read.push([user, description])
      expect(read).toEqual(['caf\udce9', 'é', 'grün \ufffd', '\udc80\udcff\0x', ''].map(text => [text, text]))
    })

    test('a new store is empty', async () => {
      expect(await at.store.lastTid()).toBe(TID_NONE)
      expect(await at.store.load([toOid(0)], TID_MAX)).toEqual([undefined])
      expect(await at.store.commit({ changes: [] })).toBe(TID_NONE)
    })

    test('ranges of oids ascend, do not overlap, and none that was used is allocated after a reopening', async () => {
      const ranges = await Promise.all([3, 1, 4000, 1].map(async count => await at.store.allocateOids(count)))
      let end = 0
      for (const [i, { first, count }] of ranges.entries()) {
        expect(first).toBeGreaterThanOrEqual(Math.max(end, 1))
        expect(count).toBeGreaterThanOrEqual([3, 1, 4000, 1][i] ?? Infinity)
        end = first + count
      }
      const far = toOid(end + 1000)
      await at.store.commit({ changes: [{ oid: far, base: TID_NONE, record: { head: Uint8Array.of(2) } }] })
      expect((await at.store.allocateOids(1)).first).toBeGreaterThan(far)
      await at.store.close()
      await expect(at.store.allocateOids(1)).rejects.toThrow(StoreError)
      await at.reopen()
      expect((await at.store.allocateOids(1)).first).toBeGreaterThan(far)
    })

    test('tids increase even if the clock goes back', async () => {
      const tids: Tid[] = []
      for (let index = 0; index < 20; index++) tids.push((await at.add(Uint8Array.of(index))).tid)
      expect(tids).toEqual([...new Set(tids)].toSorted((a, b) => (a < b ? -1 : 1)))
      const future = toTid((tids.at(-1) ?? TID_NONE) + (1n << 50n))
      const changes = [
        { oid: (await at.store.allocateOids(1)).first, base: TID_NONE, record: { head: Uint8Array.of(1) } },
      ]
      expect(await at.store.commit({ changes, tid: future })).toBe(future)
      expect((await at.add(Uint8Array.of(2))).tid).toBeGreaterThan(future)
    })

    test('a given tid that is not later than the last one is refused', async () => {
      const { tid } = await at.add(Uint8Array.of(1))
      const changes = [
        { oid: (await at.store.allocateOids(1)).first, base: TID_NONE, record: { head: Uint8Array.of(1) } },
      ]
      await expect(at.store.commit({ changes, tid })).rejects.toThrow(StoreError)
      expect(await at.store.lastTid()).toBe(tid)
    })

    test('an empty record is a record', async () => {
      const { oid, tid } = await at.add(new Uint8Array(0))
      const [revision] = await at.store.load([oid], TID_MAX)
      expect(revision?.tid).toBe(tid)
      expect(revision?.record.length).toBe(0)
      const part = await at.store.loadPart(oid, TID_MAX, 0, 5)
      expect(part).toMatchObject({ tid, size: 0 })
      expect(part?.bytes.length).toBe(0)
    })
  })
}
