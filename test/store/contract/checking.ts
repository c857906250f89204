/** `Checking` (store/capabilities.ts) as tests; what it finds of damage is each store's own to test. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Checking, StorageDamage } from '../../../store/capabilities.ts'
import { LockedError } from '../../../store/errors.ts'
import { ROOT_OID, TID_MAX, type Tid } from '../../../store/ids.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import type { MakeDatabase, TestDatabase } from './opened-database.ts'
import { commitChain } from './graph.ts'

export function checkingContract(name: string, make: MakeDatabase): void {
  describe(`${name}, checking`, () => {
    let database: TestDatabase
    let store: WritableStore | undefined
    let reader: Store
    let tid: Tid
    beforeEach(async () => {
      database = await make()
      store = await database.open()
      ;({ tid } = await commitChain(store, 4, 20_000))
      reader = await database.openReader()
    })
    afterEach(async () => {
      await reader.close()
      await store?.close()
      await database.remove()
    })

    const checking = (): Checking => {
      if (reader.capabilities.checking === undefined) throw new TypeError('no checking')
      return reader.capabilities.checking
    }
    const damages = async (everyByte: boolean): Promise<readonly StorageDamage[]> => {
      const found: StorageDamage[] = []
      for await (const damage of checking().storage({ upTo: TID_MAX, everyByte, progress: () => {} }))
        found.push(damage)
      return found
    }

    test.each([true, false])(
      'an intact store has no findings, beside a writer; every byte: %s',
      async all => {
        expect(await damages(all)).toEqual([])
      },
    )

    test('a repair is refused while the database is in use, and excludes writers', async () => {
      await expect(checking().beginRepair('a test')).rejects.toThrow(LockedError)
      await store?.close()
      store = undefined
      const repair = await checking().beginRepair('a test')
      await expect(database.open()).rejects.toThrow(LockedError)
      await repair.mend(true)
      await repair.end()
      store = await database.open()
      expect(await damages(true)).toEqual([])
      expect((await store.load([ROOT_OID], TID_MAX))[0]?.tid).toBe(tid)
    })

    test('accepted losses are recorded', async () => {
      expect(await checking().isAccepted(ROOT_OID, tid)).toBe(false)
      await checking().accept([{ oid: ROOT_OID, tid }])
      expect(await checking().isAccepted(ROOT_OID, tid)).toBe(true)
    })
  })
}
