/** Concurrent random operations: none hangs, and the resulting tree is consistent. */
import * as fc from 'fast-check'
import { constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import type { Ino } from '../../../core/file-system/operations.ts'
import { perform, step } from '../../tools/file-system-steps.ts'
import { TestStore } from '../../tools/test-store.ts'
import { Paths } from '../../tools/paths.ts'
import { treeOf } from '../../tools/tree-hash.ts'

const RUNS = Number(process.env['ZBLKFS_CONCURRENCY_RUNS'] ?? 30)
const ALLOWED = new Set(['nothing', 'ENOENT', 'EEXIST', 'ENOTDIR', 'EISDIR', 'ENOTEMPTY', 'EINVAL', 'EPERM'])

/** Checks every count of links; returns how many inodes there are below a directory. */
async function checkLinks(paths: Paths, top: string, names: Map<Ino, [number, number]>): Promise<void> {
  const { nlink } = await paths.stat(top)
  let subdirectories = 0
  for (const name of await paths.list(top, 5)) {
    const path = `${top}/${name}`
    const { ino, mode, nlink } = await paths.stat(path)
    if ((mode & constants.S_IFMT) === constants.S_IFDIR) {
      subdirectories++
      names.set(ino, [1, 1])
      expect(await paths.at(`${path}/..`, parent => Promise.resolve(parent))).toBe(
        (await paths.stat(top)).ino,
      )
      await checkLinks(paths, path, names)
    } else names.set(ino, [nlink, (names.get(ino)?.[1] ?? 0) + 1])
  }
  expect([top, nlink]).toEqual([top, 2 + subdirectories])
}

test('concurrent operations leave a consistent tree, in memory and in the store', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(step, { maxLength: 40, size: 'max' }), { minLength: 2, maxLength: 8 }),
      async workers => {
        const store = new TestStore()
        const fs = await FileSystem.open(store, { dirtySizeBytes: 200_000, commitIntervalMs: 1 })
        const paths = new Paths(fs)
        store.beforeCommit = () => sleep(1)
        await Promise.all(
          workers.map(async steps => {
            for (const one of steps) expect(ALLOWED).toContain(await perform(paths, one))
          }),
        )
        const names = new Map<Ino, [number, number]>()
        await checkLinks(paths, '', names)
        for (const [links, found] of names.values()) expect(found).toBe(links)
        const tree = await treeOf(paths, '')
        await fs.close()
        const { files, filesFree } = await fs.statfs()
        expect(files - filesFree).toBe(names.size + 1)
        const again = await FileSystem.open(store.found())
        expect(await treeOf(new Paths(again), '')).toBe(tree)
        expect(again.stats().inodesInUse).toBe(0)
        await again.close()
      },
    ),
    { numRuns: RUNS },
  )
})
