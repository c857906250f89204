/**
 * The rule of `core/objects/persistent.ts`: an object that was activated can be used until the next turn of the event loop. Here
 * inodes become ghosts one turn after they were loaded or stored, and every read of the store takes a turn.
 */
import * as fc from 'fast-check'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { ObjectCache } from '../../../core/objects/object-cache.ts'
import { PersistentMapping } from '../../../core/objects/persistent-mapping.ts'
import type { Oid, Tid } from '../../../store/ids.ts'
import type { Revision, RevisionPart, SliceRead } from '../../../store/store.ts'
import { Model } from '../../tools/file-system-model.ts'
import { perform, step } from '../../tools/file-system-steps.ts'
import { Paths } from '../../tools/paths.ts'
import { Random } from '../../stress/random.ts'
import { TestStore } from '../../tools/test-store.ts'

const RUNS = Number(process.env['ZBLKFS_MODEL_RUNS'] ?? 60)

/** A store whose reads take a turn. */
class SlowStore extends TestStore {
  override async load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    await turn()
    return await super.load(oids, at)
  }

  override async loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    await turn()
    return await super.loadPart(oid, at, off, len, into)
  }

  override async readSlices(reads: readonly SliceRead[]): Promise<void> {
    await turn()
    await super.readSlices(reads)
  }
}

beforeEach(() => {
  const random = new Random(1)
  // oxlint-disable-next-line typescript/unbound-method
  const { hold } = ObjectCache.prototype
  vi.spyOn(ObjectCache.prototype, 'hold').mockImplementation(function (this: ObjectCache, object) {
    hold.call(this, object)
    // Not always: two objects that are never in memory at the same time cannot be used together.
    if (object.status !== 'up to date' || !(object instanceof PersistentMapping)) return
    if (random.next() < 0.7) setImmediate(() => object.deactivate())
  })
})

afterEach(() => {
  vi.restoreAllMocks()
})

test('random operations match a model', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120, size: 'max' }), async steps => {
      const store = new SlowStore()
      const model = new Model()
      let paths = new Paths(await FileSystem.open(store))
      for (const one of steps) {
        if (one.do === 'reopen') {
          await paths.fs.sync()
          paths = new Paths(await FileSystem.open(store))
        } else {
          const [found, expected] = [await perform(paths, one), model.perform(one)]
          expect([one, found === 'ENOTDIR' ? 'ENOENT' : found]).toEqual([
            one,
            expected === 'ENOTDIR' ? 'ENOENT' : expected,
          ])
        }
      }
      await paths.fs.close()
    }),
    { numRuns: RUNS },
  )
})

/** Lengths of data and of holes in turn: a file with its data in blocks, parts of which can be shared. */
const RUNS_OF_BYTES = [5000, 300_000, 150_000, 70_000, 3000, 4096, 200_000]

test.each([
  ['a file with holes', RUNS_OF_BYTES],
  ['a small file', [1000]],
  ['a hole', [0, 500_000]],
])('%s is copied over files whose objects are ghosts', async (_of, runs) => {
  const content = Buffer.concat(
    runs.map((length, index) => Buffer.alloc(length, index % 2 === 0 ? 65 + index : 0)),
  )
  const store = new SlowStore()
  for (let round = 0; round < 12; round++) {
    const writing = new Paths(await FileSystem.open(store))
    await writing.write('from', content)
    await writing.truncate('from', BigInt(content.length))
    await writing.write('to', Buffer.alloc(round % 3 === 0 ? 100 : 900_000, 'z'))
    await writing.fs.sync()
    const paths = new Paths(await FileSystem.open(store))
    const [from, to] = [await paths.open('from'), await paths.open('to')]
    const off = [0, 4096, 100][round % 3] ?? 0
    const before = await paths.read('to')
    const copied = await paths.fs.copyFileRange(
      { ...from, off: 0n },
      { ...to, off: BigInt(off) },
      BigInt(content.length),
    )
    expect(Number(copied)).toBe(content.length)
    const expected = Buffer.alloc(Math.max(before.length, off + content.length))
    before.copy(expected)
    content.copy(expected, off)
    expect((await paths.read('to')).equals(expected)).toBe(true)
    await paths.close(from)
    await paths.close(to)
    await paths.fs.sync()
  }
})
