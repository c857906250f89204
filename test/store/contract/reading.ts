/** The contract of reading, as tests: store/store.ts. */
import { CorruptRecordError, ObjectNotFoundError, StoreError } from '../../../store/errors.ts'
import { oid as toOid, TID_MAX, TID_NONE, tid as toTid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import {
  expectBytes,
  expectChanges,
  expectParts,
  expectStates,
  expectTransactions,
  stateAt,
  type History,
} from '../history.ts'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

/** What every store passes. `store` holds `history` and nothing else. It is opened once, and closed by the last test. */
export function readingContract(
  name: string,
  open: () => Promise<{ readonly store: Store; readonly history: History }>,
): void {
  describe(`${name}, read`, () => {
    let store: Store
    let history: History
    beforeEach(async () => {
      ;({ store, history } = await open())
    })
    afterEach(async () => await store.close())

    test('lastTid is the last transaction', async () => {
      expect(await store.lastTid()).toBe(history.at(-1)?.tid ?? TID_NONE)
    })

    test('only an external database reports how much history it has kept', async () => {
      const { foreignHistory } = store.capabilities
      expect(foreignHistory !== undefined).toBe(store.isForeign)
      if (foreignHistory === undefined) return
      expect(await foreignHistory.packedUpTo()).toBeLessThanOrEqual(await store.lastTid())
      const states = history.reduce((sum, { records }) => sum + records.size, 0)
      const objects = new Set(history.flatMap(({ records }) => [...records.keys()])).size
      if (!foreignHistory.keepsHistory) expect(states).toBe(objects)
    })

    test('every object has at every moment the state of its newest transaction up to it', async () => {
      const step = Math.max(1, Math.floor(history.length / 30))
      const tids = history.filter((_, index) => index % step === 0).map(({ tid }) => tid)
      await expectStates(store, history, [...tids, TID_MAX])
    })

    test('a part of a record is truncated at its end', async () => {
      const newest = [...stateAt(history, TID_MAX)].filter((_, index) => index % 7 === 0).slice(0, 20)
      for (const [oid, { record }] of newest) await expectParts(store, oid, TID_MAX, record)
    })

    test('slices of many records are read in one call, in any order, each into its own buffer', async () => {
      const parts = history.flatMap(({ tid, records }) =>
        [...records].flatMap(([oid, record]) => {
          if (record === null) return []
          const [off, middle] = [record.length >> 2, record.length >> 1]
          return [
            { oid, tid, off, end: middle, record },
            { oid, tid, off: middle, end: record.length, record },
            { oid, tid, off: 0, end: off, record },
          ]
        }),
      )
      const picked = parts.filter((_, index) => index % Math.max(1, Math.floor(parts.length / 200)) === 0)
      const memory = new Uint8Array(picked.reduce((sum, { off, end }) => sum + end - off, 0))
      let at = 0
      const reads = picked.map(({ oid, tid, off, end }) => {
        const into = memory.subarray(at, (at += end - off))
        return { oid, tid, off, into }
      })
      await store.readSlices(reads.toReversed())
      for (const [i, { oid, off, end, record }] of picked.entries())
        expectBytes(reads[i]?.into, record.subarray(off, end), `bytes [${off}, ${end}) of ${oid}`)
      await store.readSlices([])
    })

    test('a slice of a revision that does not exist, or beyond its end, is refused', async () => {
      const into = new Uint8Array(1)
      const missing = { oid: toOid(Number.MAX_SAFE_INTEGER - 5), tid: toTid(1n), off: 0, into }
      await expect(store.readSlices([missing])).rejects.toThrow(ObjectNotFoundError)
      for (const [oid, { record, tid }] of [...stateAt(history, TID_MAX)].slice(0, 1)) {
        const never = { oid, tid: toTid(tid + 1n), off: 0, into }
        await expect(store.readSlices([never])).rejects.toThrow(ObjectNotFoundError)
        const beyond = { oid, tid, off: record.length, into }
        await expect(store.readSlices([beyond])).rejects.toThrow(CorruptRecordError)
      }
    })

    test('an unknown object is undefined, alone and among others', async () => {
      const known = [...stateAt(history, TID_MAX).keys()].slice(0, 3)
      const missing = toOid(Number.MAX_SAFE_INTEGER - 5)
      const loaded = await store.load([missing, ...known, missing], TID_MAX)
      expect(loaded.map(revision => revision === undefined)).toEqual([true, ...known.map(() => false), true])
      expect(await store.loadPart(missing, TID_MAX, 0, 10)).toBeUndefined()
      expect(await store.revisions(missing)).toEqual([])
      expect(await store.load([], TID_MAX)).toEqual([])
    })

    test('transactions are listed by range, in both directions', async () =>
      await expectTransactions(store, history))

    test('changes and revisions are listed by range', async () => await expectChanges(store, history))

    test('after close all operations are rejected', async () => {
      await store.close()
      await expect(store.load([], TID_MAX)).rejects.toThrow(StoreError)
      await expect(store.loadPart(toOid(0), TID_MAX, 0, 1)).rejects.toThrow(StoreError)
      const read = { oid: toOid(0), tid: TID_MAX, off: 0, into: new Uint8Array(1) }
      await expect(store.readSlices([read])).rejects.toThrow(StoreError)
      await expect(store.lastTid()).rejects.toThrow(StoreError)
      await expect(store.revisions(toOid(0))).rejects.toThrow(StoreError)
      await expect(store.transactions()[Symbol.asyncIterator]().next()).rejects.toThrow(StoreError)
      await expect(store.changes(TID_NONE)[Symbol.asyncIterator]().next()).rejects.toThrow(StoreError)
      await store.close()
    })
  })
}
