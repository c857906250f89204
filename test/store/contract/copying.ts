/** `Copying` (store/capabilities.ts) as tests. */
import { describe, expect, onTestFinished, test } from 'vitest'
import type { RevisionPlace, StoredRecord } from '../../../store/copying.ts'
import { oid as toOid, tid as toTid, TID_MAX, TID_NONE } from '../../../store/ids.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

const LONG = 400_000

export function copyingContract(name: string, make: MakeDatabase): void {
  describe(`${name}, copying`, () => {
    const at = new OpenedDatabase(make)

    test('revisions are listed in pages by transaction, with their places; shared bytes have one place', async () => {
      const source = { head: Uint8Array.of(1, 2), body: [Buffer.alloc(LONG, 9)], tail: Uint8Array.of(3) }
      const first = await at.add(source)
      const body = { oid: first.oid, tid: first.tid, off: 2, len: LONG }
      const second = await at.add({ head: Uint8Array.of(4), body })
      const third = await at.store.commit({ changes: [{ oid: first.oid, base: first.tid, record: null }] })
      const reader = await at.database.openReader()
      onTestFinished(async () => await reader.close())
      const rows: StoredRecord[] = []
      for (let after: RevisionPlace = { tid: TID_NONE, oid: toOid(0) }; ;) {
        const page = await reader.capabilities.copying?.revisions(after, TID_MAX, 2)
        const last = page?.at(-1)
        if (page === undefined || last === undefined) break
        expect(page.length).toBeLessThanOrEqual(2)
        rows.push(...page)
        after = last
      }
      expect(rows.map(({ oid, tid }) => ({ oid, tid }))).toEqual([
        first,
        second,
        { oid: first.oid, tid: third },
      ])
      const [one, two, gone] = rows
      const lengthOf = ({ head, len, tail }: StoredRecord): number =>
        (head?.length ?? 0) + len + (tail?.length ?? 0)
      expect(lengthOf(one!)).toBe(LONG + 3)
      expect(lengthOf(two!)).toBe(LONG + 1)
      expect(one?.pos).toBe(two?.pos)
      expect(gone).toMatchObject({ head: null, pos: null, len: 0 })
    })

    test('the places of consecutive transactions are contiguous', async () => {
      const first = await at.add({ head: Uint8Array.of(1), body: [Buffer.alloc(LONG, 1)] })
      const second = await at.add({ head: Uint8Array.of(2), body: [Buffer.alloc(LONG, 2)] })
      const { copying } = at.store.capabilities
      const [one, two] = (await copying?.revisions({ tid: TID_NONE, oid: toOid(0) }, TID_MAX, 2)) ?? []
      const ends = await Promise.all(
        [TID_NONE, toTid(first.tid - 1n), first.tid, toTid(second.tid - 1n), second.tid, TID_MAX].map(
          async tid => await copying?.placesEnd(tid),
        ),
      )
      expect(ends.slice(0, 2)).toEqual([0, 0])
      expect(ends[2]).toBe(ends[3])
      expect(ends[4]).toBe(ends[5])
      expect(ends[2]).toBeGreaterThanOrEqual(one!.pos! + one!.len)
      expect(ends[2]).toBeLessThanOrEqual(two!.pos!)
      expect(ends[4]).toBeGreaterThanOrEqual(two!.pos! + two!.len)
    })
  })
}
