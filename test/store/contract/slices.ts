import { ObjectNotFoundError, StoreError } from '../../../store/errors.ts'
import { oid as toOid, TID_MAX, tid as toTid } from '../../../store/ids.ts'
import { expectBytes, expectParts } from '../history.ts'
import { describe, expect, test } from 'vitest'
import { randomBytes, shared } from './random-history.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

/** Records that share bytes of stored ones. */
export function sliceContract(name: string, make: MakeDatabase): void {
  describe(`${name}: slices`, () => {
    const at = new OpenedDatabase(make)

    test('slices of a record, and slices of these, have its bytes', async () => {
      const data = randomBytes(300_000, 3)
      const source = {
        head: data.subarray(0, 7),
        body: [shared(data.subarray(7, 299_995))],
        tail: data.subarray(299_995),
      }
      const whole = await at.add(source)
      for (const [off, len] of [
        [7, 299_988],
        [7, 4096],
        [4103, 4096],
        [100_000, 150_000],
        [0, 300_000],
        [3, 50_000],
        [250_000, 50_000],
        [299_990, 10],
        [50, 0],
      ] as const) {
        const head = Uint8Array.of(9, 9)
        const tail = Uint8Array.of(8)
        const slice = await at.add({ head, body: { oid: whole.oid, tid: whole.tid, off, len }, tail })
        const expected = Buffer.concat([head, data.subarray(off, off + len), tail])
        expectBytes(await at.loadOne(slice.oid), expected, `slice [${off}, ${off + len})`)
        await expectParts(at.store, slice.oid, TID_MAX, expected)
        const inner = { oid: slice.oid, tid: slice.tid, off: 1, len: Math.max(0, expected.length - 2) }
        const again = await at.add({ head: new Uint8Array(0), body: inner })
        expectBytes(await at.loadOne(again.oid), expected.subarray(1, 1 + inner.len), 'slice of a slice')
      }
    })

    test('a slice survives later states of its record', async () => {
      const data = randomBytes(100_000, 4)
      const { oid, tid } = await at.add({ head: new Uint8Array(0), body: [data] })
      await at.store.commit({ changes: [{ oid, base: tid, record: null }] })
      const slice = await at.add({ head: new Uint8Array(0), body: { oid, tid, off: 10, len: 90_000 } })
      expectBytes(await at.loadOne(slice.oid), data.subarray(10, 90_010), 'the slice')
    })

    test('a slice of a missing object is refused', async () => {
      const { oid, tid } = await at.add(Uint8Array.of(1, 2, 3))
      const missing = { oid: toOid(oid + 100), tid, off: 0, len: 1 }
      await expect(at.add({ head: Uint8Array.of(1), body: missing })).rejects.toThrow(ObjectNotFoundError)
      await expect(at.add({ head: Uint8Array.of(1), body: { oid, tid, off: 2, len: 2 } })).rejects.toThrow(
        StoreError,
      )
      await expect(
        at.add({ head: Uint8Array.of(1), body: { oid, tid: toTid(tid + 1n), off: 0, len: 1 } }),
      ).rejects.toThrow(ObjectNotFoundError)
    })
  })
}
