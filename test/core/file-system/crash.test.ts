/**
 * What a store has at any moment is what a mount after a crash begins with. Every transaction of a random workload,
 * the timer's and those at the dirty bound included, must be the tree as it was between two operations, and not
 * before the last fsync that had returned.
 */
import * as fc from 'fast-check'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { MemoryReader } from '../../../store/memory/memory-store.ts'
import { perform, step } from '../../tools/file-system-steps.ts'
import { TestStore } from '../../tools/test-store.ts'
import { Paths } from '../../tools/paths.ts'
import { treeOf } from '../../tools/tree-hash.ts'

const RUNS = Number(process.env['ZBLKFS_CRASH_RUNS'] ?? 30)

const storedTree = async (store: TestStore): Promise<string> =>
  treeOf(new Paths(await FileSystem.open(new MemoryReader(store.database))), '')

test('every stored moment is a prefix of the operations, no older than the last fsync', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60, size: 'max' }),
      fc.integer({ min: 0, max: 3 }),
      async (steps, delayMs) => {
        const store = new TestStore()
        const fs = await FileSystem.open(store, { dirtySizeBytes: 100_000, commitIntervalMs: 2 })
        const paths = new Paths(fs)
        store.beforeCommit = () => sleep(delayMs)
        const prefixes = [await treeOf(paths, '')]
        let synced = 0
        for (const one of steps) {
          await perform(paths, one)
          prefixes.push(await treeOf(paths, ''))
          if (one.do === 'sync') synced = prefixes.length - 1
          const at = prefixes.lastIndexOf(await storedTree(store))
          expect(at).toBeGreaterThanOrEqual(synced)
        }
        await fs.close()
        expect(await storedTree(store)).toBe(prefixes.at(-1))
      },
    ),
    { numRuns: RUNS },
  )
})
