/** The capabilities with one or two methods, as store/capabilities.ts describes them: dating, compressing, connection, presence. */
import { describe, expect, test } from 'vitest'
import { COMPRESSIONS } from '../../../store/compression.ts'
import { timeFromTid, TID_NONE } from '../../../store/ids.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

export function datingContract(name: string, make: MakeDatabase): void {
  describe(`${name}, dating`, () => {
    const at = new OpenedDatabase(make)

    test('a transaction is dated by the clock, alike for the writer and a reader', async () => {
      const before = Date.now()
      const { tid } = await at.add(Uint8Array.of(1))
      const after = Date.now()
      const reader = await at.database.openReader()
      try {
        for (const store of [at.store, reader]) {
          const timeline = await store.capabilities.dating!.timeline()
          // The time of a tid has a resolution of some microseconds; its clock may be a server's.
          expect(timeline.timeOf(tid)).toBeGreaterThan(before - 10_000)
          expect(timeline.timeOf(tid)).toBeLessThan(after + 10_000)
          expect(timeline.timeOf(tid)).toBe(timeFromTid(tid))
          expect(timeline.ago(60_000, Date.now())).toBeLessThan(tid)
          expect(timeline.upTo(after + 60_000)).toBeGreaterThanOrEqual(tid)
        }
      } finally {
        await reader.close()
      }
    })
  })
}

export function compressingContract(name: string, make: MakeDatabase): void {
  describe(`${name}, compressing`, () => {
    const at = new OpenedDatabase(make)

    test('the compression belongs to the database: readers see it, and it stays', async () => {
      const compression = await at.offered('compressing').compression()
      expect(COMPRESSIONS).toContain(compression)
      const reader = await at.database.openReader()
      expect(await reader.capabilities.compressing?.compression()).toBe(compression)
      await reader.close()
      await at.store.close()
      await at.reopen()
      expect(await at.offered('compressing').compression()).toBe(compression)
    })
  })
}

export function connectionContract(name: string, make: MakeDatabase): void {
  describe(`${name}, connection`, () => {
    const at = new OpenedDatabase(make)

    test('a server that answers is connected, for the writer and a reader', async () => {
      await at.add(Uint8Array.of(1))
      expect(at.offered('connection').state()).toEqual({ state: 'connected' })
      const reader = await at.database.openReader()
      expect(reader.capabilities.connection?.state()).toEqual({ state: 'connected' })
      await reader.close()
    })
  })
}

export function presenceContract(name: string, make: MakeDatabase): void {
  describe(`${name}, presence`, () => {
    test('removed files are detected, and are still written to if that is allowed', async () => {
      const database = await make()
      const store = await database.open()
      const presence = store.capabilities.presence!
      const add = async (): Promise<unknown> => {
        const oid = (await store.allocateOids(1)).first
        const record = { head: new Uint8Array(), body: [new Uint8Array(100_000).fill(1)] }
        return await store.commit({ changes: [{ oid, base: TID_NONE, record }] })
      }
      await add()
      await presence.assertThere()
      await database.remove()
      await expect(presence.assertThere()).rejects.toMatchObject({ code: 'database-gone' })
      await expect(add()).rejects.toMatchObject({ code: 'database-gone' })
      await presence.storeUnnamed(true)
      await add()
      await store.close()
    })
  })
}
