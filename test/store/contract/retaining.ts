/** `Retaining` (store/capabilities.ts) as tests. */
import { describe, expect, test } from 'vitest'
import type { Retaining } from '../../../store/capabilities.ts'
import { KEEP_ALL } from '../../../store/retention.ts'
import type { Store } from '../../../store/store.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

export function retainingContract(name: string, make: MakeDatabase): void {
  describe(`${name}, retaining`, () => {
    const opened = new OpenedDatabase(make)
    const retainingOf = (store: Store): Retaining => {
      if (store.capabilities.retaining === undefined) throw new TypeError('no retaining')
      return store.capabilities.retaining
    }

    test('no retention is set initially; a set one persists and is visible to readers', async () => {
      expect(await retainingOf(opened.store).retention()).toBeUndefined()
      await retainingOf(opened.store).setRetention({ keepMs: 3_600_000 })
      await retainingOf(opened.store).setRetention(KEEP_ALL)
      await opened.store.close()
      await opened.reopen()
      expect(await retainingOf(opened.store).retention()).toEqual(KEEP_ALL)
      const reader = await opened.database.openReader()
      try {
        expect(await retainingOf(reader).retention()).toEqual(KEEP_ALL)
        await expect(retainingOf(reader).setRetention({ keepMs: 0 })).rejects.toMatchObject({
          code: 'read-only',
        })
      } finally {
        await reader.close()
      }
    })
  })
}
