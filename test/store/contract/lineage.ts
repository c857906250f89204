/** `Lineage` (store/capabilities.ts) as tests. */
import { describe, expect, test } from 'vitest'
import { keptMoments } from '../../../store/kept-moments.ts'
import { tid as toTid } from '../../../store/ids.ts'
import type { Lineage } from '../../../store/copying.ts'
import type { Store } from '../../../store/store.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

const ID = '00112233445566778899aabb'

export function lineageContract(name: string, make: MakeDatabase): void {
  describe(`${name}, lineage`, () => {
    const opened = new OpenedDatabase(make)
    const other = new OpenedDatabase(make)
    const lineageOf = (store: Store): Lineage => {
      if (store.capabilities.lineage === undefined) throw new TypeError('no lineage')
      return store.capabilities.lineage
    }

    test('a new database has its own lineage; the lineage of a copy persists', async () => {
      const own = await lineageOf(opened.store).origin()
      expect(own).toMatch(/^[0-9a-f]{32}$/)
      expect(await lineageOf(opened.store).sourceMoments()).toBeUndefined()
      const origin = await lineageOf(other.store).origin()
      expect(origin).not.toBe(own)
      const moments = keptMoments(toTid(7n), [toTid(3n)])
      await lineageOf(opened.store).setLineage(origin, moments)
      await opened.store.close()
      await opened.reopen()
      const reader = await opened.database.openReader()
      try {
        for (const store of [opened.store, reader]) {
          expect(await lineageOf(store).origin()).toBe(origin)
          expect(await lineageOf(store).sourceMoments()).toEqual(moments)
        }
        await expect(lineageOf(reader).setLineage(own, moments)).rejects.toMatchObject({ code: 'read-only' })
      } finally {
        await reader.close()
      }
    })

    test('a value that is not a database id is refused', async () => {
      const moments = keptMoments(toTid(7n), [])
      for (const id of ['', `${ID}00000000`, 'x'])
        await expect(lineageOf(opened.store).setLineage(id, moments)).rejects.toThrow('not the id')
    })
  })
}
