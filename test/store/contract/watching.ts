import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { TID_NONE, type Tid } from '../../../store/ids.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

/** Watching, as store/capabilities.ts describes it: a reader beside the writer. */
export function watchingContract(name: string, make: MakeDatabase): void {
  describe(`${name}: watching`, () => {
    const at = new OpenedDatabase(make)

    test('only later transactions are reported, and none after the watch has ended', async () => {
      const { tid: first } = await at.add(Uint8Array.of(1))
      const reader = await at.database.openReader()
      onTestFinished(async () => await reader.close())
      const seen: Tid[] = []
      const stop = reader.capabilities.watching?.watch({
        after: first,
        intervalMs: 5,
        onAdvance: async lastTid => void seen.push(lastTid),
        onError: error => expect.fail(String(error)),
      })
      if (stop === undefined) throw new Error('the reader offers no watching')
      const { tid: second } = await at.add(Uint8Array.of(2))
      await vi.waitFor(() => expect(seen).toEqual([second]))
      stop()
      const { tid: third } = await at.add(Uint8Array.of(3))
      expect(await reader.lastTid()).toBe(third)
      expect(seen).toEqual([second])
    })

    test('an error of the watcher is reported once, and the call is repeated', async () => {
      await at.add(Uint8Array.of(1))
      const reader = await at.database.openReader()
      onTestFinished(async () => await reader.close())
      let calls = 0
      const errors: unknown[] = []
      const stop = reader.capabilities.watching?.watch({
        after: TID_NONE,
        intervalMs: 5,
        onAdvance: () => (++calls < 3 ? Promise.reject(new Error('not yet')) : Promise.resolve()),
        onError: error => errors.push(error),
      })
      await vi.waitFor(() => expect(calls).toBe(3))
      expect(errors).toHaveLength(1)
      stop?.()
    })
  })
}
