import { oid as toOid, TID_MAX, TID_NONE, type Oid } from '../../../store/ids.ts'
import { expectBytes, expectParts } from '../history.ts'
import { describe, expect, test } from 'vitest'
import { randomBytes, shared } from './random-history.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

/** Long records, many objects, and long histories. */
export function sizeContract(name: string, make: MakeDatabase): void {
  describe(`${name}: sizes`, () => {
    const at = new OpenedDatabase(make)

    test('records of 16 MiB, whichever part is long, round-trip whole and in parts', async () => {
      const long = shared(randomBytes(16 << 20, 7))
      const short = Uint8Array.of(1, 2, 3)
      for (const source of [
        { head: long },
        { head: short, body: [long], tail: short },
        { head: short, tail: long },
        { head: short, body: [long.subarray(0, 5_000_001), long.subarray(5_000_001)] },
      ]) {
        const { oid } = await at.add(source)
        const expected = joined(source)
        expectBytes(await at.loadOne(oid), expected, 'the record')
        await expectParts(at.store, oid, TID_MAX, expected, [3, 4096, 65_536, 5_000_004, (16 << 20) + 3])
      }
    })

    test('100,000 objects in one transaction are readable, in any order', async () => {
      const count = 100_000
      const first = (await at.store.allocateOids(count)).first
      const record = (index: number): Uint8Array => Buffer.from(`object ${index}`)
      const oids = Array.from({ length: count }, (_, index) => toOid(first + index))
      const changes = oids.map((oid, index) => ({ oid, base: TID_NONE, record: { head: record(index) } }))
      const tid = await at.store.commit({ changes })
      const loaded = await at.store.load(oids, TID_MAX)
      expect(
        loaded.every((revision, index) => revision?.tid === tid && same(revision.record, record(index))),
      ).toBe(true)
      const scattered = Array.from({ length: 5000 }, (_, index) => (index * 7919) % count)
      const some = await at.store.load(
        scattered.map(index => toOid(first + index)),
        tid,
      )
      expect(scattered.every((index, at) => same(some[at]?.record, record(index)))).toBe(true)
      const seen: Oid[] = []
      for await (const set of at.store.changes(TID_NONE)) seen.push(...set.oids)
      expect(seen.toSorted((a, b) => a - b)).toEqual(oids)
    })

    test('an object with a long history is found fast, alone and among its neighbours', async () => {
      const first = (await at.store.allocateOids(8)).first
      const oids = Array.from({ length: 8 }, (_, index) => toOid(first + index))
      let base = await at.store.commit({
        changes: oids.map(oid => ({ oid, base: TID_NONE, record: { head: Uint8Array.of(0) } })),
      })
      const start = base
      const busy = toOid(first + 3)
      for (let index = 0; index < 300; index++) {
        const head = Uint8Array.of(1, index & 255)
        base = await at.store.commit({ changes: [{ oid: busy, base, record: { head } }] })
      }
      const newest = await at.store.load(oids, TID_MAX)
      expect(newest.map(revision => revision?.tid)).toEqual(oids.map(oid => (oid === busy ? base : start)))
      const oldest = await at.store.load(oids, start)
      expect(oldest.map(revision => revision?.record[0])).toEqual(oids.map(() => 0))
    })
  })
}

const same = (a: Uint8Array | undefined, b: Uint8Array): boolean =>
  a !== undefined && Buffer.compare(a, b) === 0

function joined({
  head,
  body,
  tail,
}: {
  head: Uint8Array
  body?: readonly Uint8Array[]
  tail?: Uint8Array
}): Uint8Array {
  return Buffer.concat([head, ...(body ?? []), tail ?? new Uint8Array(0)])
}
