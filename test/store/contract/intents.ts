import type { Intents } from '../../../store/capabilities.ts'
import { StoreError } from '../../../store/errors.ts'
import { TID_NONE, tidFromTime, type Tid } from '../../../store/ids.ts'
import type { NewTransaction, WritableStore } from '../../../store/store.ts'
import { describe, expect, test } from 'vitest'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

/** Intents, as store/capabilities.ts describes them. */
export function intentsContract(name: string, make: MakeDatabase): void {
  describe(`${name}: intents`, () => {
    const at = new OpenedDatabase(make)
    const entry = (value: number): Uint8Array => new Uint8Array(5000).fill(value)
    const found = async (): Promise<readonly number[]> => {
      const { entries, isDamaged } = await intentsOf(at.store).read()
      expect(isDamaged).toBe(false)
      for (const bytes of entries) expect(new Set(bytes).size).toBe(1)
      return entries.map(bytes => bytes[0] ?? -1)
    }

    /** A transaction with a reserved tid. */
    const next = async (): Promise<{ readonly tid: Tid; readonly transaction: NewTransaction }> => {
      const tid = await intentsOf(at.store).reserve()
      const { first } = await at.store.allocateOids(1)
      const record = { head: Uint8Array.of(1) }
      return { tid, transaction: { tid, changes: [{ oid: first, base: TID_NONE, record }] } }
    }

    test('a new store has none', async () => {
      expect(await found()).toEqual([])
    })

    test('entries are found in order, by this process and by the next', async () => {
      await at.add(Uint8Array.of(1))
      for (const value of [1, 2, 3]) expect(await intentsOf(at.store).add(entry(value))).toBe(true)
      expect(await found()).toEqual([1, 2, 3])
      await at.store.close()
      await at.reopen()
      expect(await found()).toEqual([1, 2, 3])
    })

    test('the next transaction voids them', async () => {
      await intentsOf(at.store).read()
      await intentsOf(at.store).add(entry(1))
      await at.add(Uint8Array.of(1))
      expect(await found()).toEqual([])
      await intentsOf(at.store).add(entry(2))
      expect(await found()).toEqual([2])
    })

    test('an entry that follows the next transaction is valid before its commit and after', async () => {
      const intents = intentsOf(at.store)
      await intents.read()
      await at.add(Uint8Array.of(1))
      await intents.add(entry(1))
      const { tid, transaction } = await next()
      expect(await intents.add(entry(2), tid)).toBe(true)
      expect(await intents.add(entry(3), tid)).toBe(true)
      expect(await found()).toEqual([1, 2, 3])
      await at.store.commit(transaction)
      expect(await found()).toEqual([2, 3])
      expect(await intents.add(entry(4))).toBe(true)
      expect(await found()).toEqual([2, 3, 4])
      await at.add(Uint8Array.of(1))
      expect(await found()).toEqual([])
    })

    test('an entry that follows an uncommitted transaction is found by the next process', async () => {
      const intents = intentsOf(at.store)
      await intents.read()
      await at.add(Uint8Array.of(1))
      for (const value of [1, 2]) await intents.add(entry(value))
      const { tid } = await next()
      await intents.add(entry(3), tid)
      await at.store.close()
      await at.reopen()
      expect(await found()).toEqual([1, 2, 3])
      await at.add(Uint8Array.of(1))
      expect(await found()).toEqual([])
    })

    test('entries are void after the transaction that replays them, even if the clock was set back', async () => {
      await intentsOf(at.store).read()
      const ahead = tidFromTime(Date.now() + 30_000)
      const { transaction } = await next()
      await at.store.commit({ ...transaction, tid: ahead })
      const { tid } = await next()
      expect(tid).toBe(ahead + 1n)
      await intentsOf(at.store).add(entry(1), tid)
      await at.store.close()
      await at.reopen()
      expect(await found()).toEqual([1])
      expect((await at.add(Uint8Array.of(1))).tid).toBeGreaterThan(tid)
      expect(await found()).toEqual([])
    })

    test('an entry that follows an earlier transaction is void', async () => {
      const intents = intentsOf(at.store)
      await intents.read()
      const earlier = await at.store.lastTid()
      await at.add(Uint8Array.of(1))
      expect(await intents.add(entry(1), earlier)).toBe(true)
      expect(await found()).toEqual([])
    })

    test('a commit is refused until the entries of an earlier process were read', async () => {
      await at.add(Uint8Array.of(1))
      await intentsOf(at.store).add(entry(1))
      await at.store.close()
      await at.reopen()
      await expect(at.add(Uint8Array.of(2))).rejects.toThrow(StoreError)
      expect(await found()).toEqual([1])
      await at.add(Uint8Array.of(2))
      expect(await found()).toEqual([])
    })
  })
}

function intentsOf({ capabilities }: WritableStore): Intents {
  if (capabilities.intents === undefined) throw new Error('the store offers no intents')
  return capabilities.intents
}
