/** `Pinning` (store/capabilities.ts) as tests. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { TID_NONE } from '../../../store/ids.ts'
import { keptMoments } from '../../../store/kept-moments.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import type { MakeDatabase, TestDatabase } from './opened-database.ts'
import { changeOf, commitChain } from './graph.ts'

export function pinningContract(name: string, make: MakeDatabase): void {
  describe(`${name}, pinning`, () => {
    let database: TestDatabase
    let store: WritableStore
    let reader: Store
    beforeEach(async () => {
      database = await make()
      store = await database.open()
      await commitChain(store, 1)
      reader = await database.openReader()
    })
    afterEach(async () => {
      await reader.close()
      await store.close()
      await database.remove()
    })

    test('a writer sees exactly the moments that readers pin', async () => {
      const first = await store.lastTid()
      const { first: oid } = await store.allocateOids(1)
      const second = await store.commit({ changes: [changeOf(oid, TID_NONE, [])] })
      expect(await store.capabilities.pinning?.pinned()).toEqual([])
      expect(await reader.capabilities.pinning?.pin([first])).toBe(true)
      expect(await store.capabilities.pinning?.pinned()).toEqual([first])
      expect(await reader.capabilities.pinning?.pin([second])).toBe(true)
      expect(await store.capabilities.pinning?.pinned()).toEqual([second])
    })

    test('the pins of a reader end with it', async () => {
      await reader.capabilities.pinning?.pin([await store.lastTid()])
      await reader.close()
      expect(await store.capabilities.pinning?.pinned()).toEqual([])
      reader = await database.openReader()
    })

    test('a moment that a pack has dropped cannot be pinned', async () => {
      const first = await store.lastTid()
      const { first: oid } = await store.allocateOids(1)
      const tid = await store.commit({ changes: [changeOf(oid, TID_NONE, [])] })
      await store.capabilities.packing?.keep(keptMoments(tid, []))
      await expect(reader.capabilities.pinning?.pin([first])).rejects.toThrow('was forgotten')
    })
  })
}
