import { StoreError } from '../../../store/errors.ts'
import { oid as toOid, TID_NONE, type Tid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import { expectBytes } from '../history.ts'
import { newOids } from '../../tools/new-oids.ts'
import { describe, expect, test } from 'vitest'
import { randomBytes } from './random-history.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

/** Commits beside each other, beside reads, and beside close. */
export function orderContract(name: string, make: MakeDatabase): void {
  describe(`${name}: order of commits`, () => {
    const at = new OpenedDatabase(make)

    test('commits that are queued together run in their order', async () => {
      const oids = await newOids(at.store, 50)
      const tids = await Promise.all(
        oids.map(oid =>
          at.store.commit({ changes: [{ oid, base: TID_NONE, record: { head: Uint8Array.of(1) } }] }),
        ),
      )
      expect(tids).toEqual(tids.toSorted((a, b) => (a < b ? -1 : 1)))
      expect(await at.store.lastTid()).toBe(tids.at(-1))
    })

    test('an empty commit waits for earlier ones and makes no transaction', async () => {
      const { tid } = await at.add(Uint8Array.of(1))
      const [oid = toOid(0)] = await newOids(at.store, 1)
      const record = { head: new Uint8Array(1_000_000) }
      const pending = at.store.commit({ changes: [{ oid, base: TID_NONE, record }] })
      const nothing = await at.store.commit({ changes: [] })
      expect(nothing).toBe(await pending)
      expect(nothing).toBeGreaterThan(tid)
      expect(await at.store.lastTid()).toBe(nothing)
    })

    test('reads see whole transactions while others are committed', async () => {
      const first = (await at.store.allocateOids(40)).first
      const oids = Array.from({ length: 40 }, (_, index) => toOid(first + index))
      const write = async (base: Tid, value: number): Promise<Tid> =>
        await at.store.commit({
          changes: oids.map(oid => ({ oid, base, record: { head: new Uint8Array(3000).fill(value) } })),
        })
      let base = await write(TID_NONE, 0)
      const reader = await at.database.openReader()
      const progress = { done: false }
      const read = async (from: Store): Promise<number> => {
        let rounds = 0
        while (!progress.done) {
          const states = await from.load(oids, await from.lastTid())
          expect(new Set(states.map(revision => revision?.record[0])).size).toBe(1)
          expect(new Set(states.map(revision => revision?.tid)).size).toBe(1)
          rounds++
          await new Promise(resolve => setImmediate(resolve))
        }
        return rounds
      }
      const readers = [read(at.store), read(reader)]
      for (let value = 1; value <= 30; value++) base = await write(base, value)
      progress.done = true
      for (const rounds of await Promise.all(readers)) expect(rounds).toBeGreaterThan(1)
      expect(await reader.lastTid()).toBe(base)
      await reader.close()
    })

    test('close waits for commits in progress, and later ones are rejected', async () => {
      const [oid = toOid(0)] = await newOids(at.store, 1)
      const record = { head: randomBytes(5_000_000, 5) }
      const pending = at.store.commit({ changes: [{ oid, base: TID_NONE, record }] })
      await at.store.close()
      const tid = await pending
      await expect(at.store.commit({ changes: [] })).rejects.toThrow(StoreError)
      await at.reopen()
      expect(await at.store.lastTid()).toBe(tid)
      expectBytes(await at.loadOne(oid), randomBytes(5_000_000, 5), 'what was pending')
    })
  })
}
