/**
 * An fsync of nothing but written data makes no transaction. What it says is on disk is there all the same for who
 * finds the store as it is at that moment: writes are made again from the intent log, in their order and with their
 * times.
 */
import * as fc from 'fast-check'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { StoreError } from '../../../store/errors.ts'
import { perform, type Step } from '../../tools/file-system-steps.ts'
import { TestStore } from '../../tools/test-store.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { treeOf } from '../../tools/tree-hash.ts'

const RUNS = Number(process.env['ZBLKFS_CRASH_RUNS'] ?? 30)

/** What the next mount shows if this one dies now. */
async function afterCrash(store: TestStore): Promise<Paths> {
  return new Paths(await FileSystem.open(store.found()))
}

async function begin(files: readonly string[] = []): Promise<Paths & { readonly store: TestStore }> {
  const store = new TestStore({ hasIntents: true })
  const paths = new Paths(await FileSystem.open(store, { commitIntervalMs: 1e9 }))
  for (const file of files) await paths.write(file, 'as it was')
  await paths.fs.sync()
  return Object.assign(paths, { store })
}

const commitsOf = ({ fs }: Paths): number => fs.stats().commits

describe('an fsync', () => {
  test('of data alone makes no transaction, and loses nothing', async () => {
    const paths = await begin(['a', 'b'])
    const before = commitsOf(paths)
    await paths.write('a', 'first')
    await paths.fs.fsync()
    await paths.write('b', Buffer.alloc(50_000, 7), 5_000_000n)
    await paths.write('a', 'second', 3n)
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before)
    const found = await afterCrash(paths.store)
    expect(await treeOf(found, '')).toBe(await treeOf(paths, ''))
    expect((await found.read('a')).toString()).toBe('firsecond')
  })

  test('that is not made for a write leaves it to the next', async () => {
    const paths = await begin(['a'])
    await paths.write('a', 'synced')
    await paths.fs.fsync()
    const synced = await treeOf(paths, '')
    await paths.write('a', 'not synced')
    expect(await treeOf(await afterCrash(paths.store), '')).toBe(synced)
  })

  test.each<[string, (paths: Paths) => Promise<unknown>]>([
    ['a new file', paths => paths.create('new')],
    ['a name', paths => paths.rename('a', 'c')],
    ['a size', paths => paths.truncate('a', 3n)],
    ['more data than an entry is for', paths => paths.write('a', Buffer.alloc(300_000, 1))],
  ])('of %s makes a transaction', async (_what, change) => {
    const paths = await begin(['a', 'b'])
    const before = commitsOf(paths)
    await paths.write('b', 'before')
    await change(paths)
    await paths.write('b', 'after')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    expect(await treeOf(await afterCrash(paths.store), '')).toBe(await treeOf(paths, ''))
  })

  test('without room in the log makes a transaction', async () => {
    const paths = await begin(['a'])
    const before = commitsOf(paths)
    paths.store.hasRoom = false
    await paths.write('a', 'first')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    paths.store.hasRoom = true
    await paths.write('a', 'second')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before + 1)
    expect((await (await afterCrash(paths.store)).read('a')).toString()).toContain('second')
  })

  test('of many at once shares entries', async () => {
    const paths = await begin(['a'])
    const { store } = paths
    const all = Array.from({ length: 50 }, async (_, i) => {
      await paths.write('a', String(i % 10), BigInt(i))
      await paths.fs.fsync()
    })
    await Promise.all(all)
    expect((await store.found().capabilities.intents?.read())?.entries.length).toBeLessThan(30)
    expect(await treeOf(await afterCrash(store), '')).toBe(await treeOf(paths, ''))
  })

  test('after a read is still one of data alone', async () => {
    const paths = await begin(['a'])
    const before = commitsOf(paths)
    await paths.write('a', 'x')
    await paths.read('a')
    await paths.fs.fsync()
    expect(commitsOf(paths)).toBe(before)
  })
})

test('a write to a file that has no name any more is not made again', async () => {
  const paths = await begin(['a', 'b'])
  const file = await paths.open('a')
  await paths.unlink('a')
  await paths.fs.fsync()
  await paths.fs.write(file.ino, file.fh, 0n, Buffer.from('gone'))
  await paths.write('b', 'there')
  await paths.fs.fsync()
  const found = await afterCrash(paths.store)
  expect(await found.list('')).toEqual(['b'])
  expect((await found.read('b')).toString()).toContain('there')
})

test('an fsync right after the end of a transaction waits for it', async () => {
  const paths = await begin(['a'])
  paths.store.beforeCommit = () => sleep(20)
  await paths.fs.history?.begin()
  await paths.write('a', 'in the transaction')
  const ended = paths.fs.history?.commit('done')
  await paths.fs.fsync()
  expect((await (await afterCrash(paths.store)).read('a')).toString()).toBe('in the transaction')
  await ended
})

test('a transaction that was rolled back leaves nothing for the next process', async () => {
  const paths = await begin(['a'])
  await paths.write('a', 'kept')
  await paths.fs.fsync()
  await paths.fs.history?.begin()
  await paths.write('a', 'taken back')
  await paths.fs.fsync()
  await paths.fs.history?.rollBack()
  await paths.write('a', 'later', 20n)
  await paths.fs.fsync()
  const found = await afterCrash(paths.store)
  expect(await treeOf(found, '')).toBe(await treeOf(paths, ''))
  expect((await found.read('a')).toString()).toContain('kept')
})

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
  {
    weight: 1,
    arbitrary: fc.constantFrom('full' as const, 'broken' as const),
  },
)

test('whenever a process dies, the next finds a prefix of the operations, no older than the last fsync', async () => {
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
          // A broken store is mended by the next step, so that each failure is met once.
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
