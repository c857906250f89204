/** Random operations on a filesystem with an intent log, with a crash after each: the next process finds a prefix of them. */
import * as fc from 'fast-check'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { StoreError } from '../../../store/errors.ts'
import { perform, step as anyStep, type Step } from '../../tools/file-system-steps.ts'
import { TestStore } from '../../tools/test-store.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { treeOf } from '../../tools/tree-hash.ts'

const RUNS = Number(process.env['ZBLKFS_CRASH_RUNS'] ?? 30)

/** The tree that the next mount shows if this one dies now. */
async function afterCrash(store: TestStore): Promise<Paths> {
  return new Paths(await FileSystem.open(store.found()))
}

/** One operation: a file that is not there is not made. */
const overwrite = (
  paths: Paths,
  { path, off, length, fill }: Step & { readonly do: 'write' },
): Promise<string> =>
  codeOf(async () => {
    const { ino, fh } = await paths.open(path)
    try {
      await paths.fs.write(ino, fh, BigInt(off), Buffer.alloc(length, fill))
    } finally {
      await paths.close({ ino, fh })
    }
  })

const path = fc.constantFrom('a', 'b', 'c', 'd/e')
const off = fc.oneof(fc.nat(20_000), fc.constantFrom(4096, (2 << 20) - 5))
const length = fc.oneof(fc.nat(10_000), fc.constantFrom(4096, 70_000))

type Event = 'fsync' | 'fsync beside' | 'full' | 'broken'

const step: fc.Arbitrary<Step | Event> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      path,
      off,
      length,
      fill: fc.integer({ min: 1, max: 255 }),
    }),
  },
  { weight: 5, arbitrary: fc.constantFrom('fsync' as const, 'fsync beside' as const) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('truncate' as const), path, off }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('punch' as const), path, off, length }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rename' as const), path, to: path }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unlink' as const), path }) },
  { weight: 4, arbitrary: anyStep.filter(one => one.do !== 'sync' && one.do !== 'reopen') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('full' as const, 'broken' as const),
  },
)

test('after a crash at any point the next process finds a prefix of the operations, no older than the last fsync', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60, size: 'max' }),
      fc.integer({ min: 0, max: 3 }),
      async (steps, delayMs) => {
        const store = new TestStore({ hasIntents: true })
        const fs = await FileSystem.open(store, { dirtySizeBytes: 200_000, commitIntervalMs: 2 })
        const paths = new Paths(fs)
        await paths.mkdir('d')
        for (const name of ['a', 'b', 'c', 'd/e']) await paths.write(name, name)
        await fs.sync()
        let isBroken = false
        store.beforeCommit = async () => {
          await sleep(delayMs)
          if (isBroken) throw new StoreError('broken')
        }
        const prefixes = [await treeOf(paths, '')]
        let synced = 0
        const beside: Promise<unknown>[] = []
        for (const one of steps) {
          // The next step repairs the store, so that each failure occurs once.
          isBroken = one === 'broken'
          if (one === 'full') store.hasRoom = !store.hasRoom
          else if (one === 'fsync beside') beside.push(codeOf(() => fs.fsync()))
          else if (one === 'fsync') {
            if ((await codeOf(() => fs.fsync())) === 'nothing') synced = prefixes.length - 1
          } else if (one !== 'broken')
            await (one.do === 'write' ? overwrite(paths, one) : perform(paths, one))
          prefixes.push(await treeOf(paths, ''))
          const at = prefixes.lastIndexOf(await treeOf(await afterCrash(store), ''))
          expect(at).toBeGreaterThanOrEqual(synced)
        }
        isBroken = false
        await Promise.all(beside)
        await fs.close()
        expect(await treeOf(await afterCrash(store), '')).toBe(prefixes.at(-1))
      },
    ),
    { numRuns: RUNS },
  )
})
