import { expect, test } from 'vitest'
import { REMEMBERED_MAX } from '../../../core/file-system/inodes/remembered-nodes.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { name, type Ino, type Notifier, ROOT_INO } from '../../../core/file-system/operations.ts'
import { MemoryStore } from '../../../store/memory/memory-store.ts'
import { Paths } from '../../tools/paths.ts'

const COUNT = REMEMBERED_MAX + 20_000

/** A kernel that forgets all that it is asked to forget, but for some inodes. */
async function withKernel(
  isKept: (ino: Ino) => boolean,
): Promise<{ readonly paths: Paths; readonly asked: Ino[] }> {
  const paths = new Paths(await FileSystem.open(new MemoryStore(), { commitIntervalMs: 1e9 }))
  const asked: Ino[] = []
  const notifier: Notifier = {
    invalidateInode: () => undefined,
    invalidateEntry: () => undefined,
    invalidateNames: () => undefined,
    invalidateAttributes: async () => undefined,
    settled: async () => undefined,
    forgetUnused: inos => {
      asked.push(...inos)
      for (const ino of inos) if (!isKept(ino)) paths.fs.forget(ino, 1)
    },
  }
  paths.fs.attach(notifier)
  return { paths, asked }
}

test('the kernel is asked to forget the oldest inodes, and none that is in use', async () => {
  const kept = new Set<Ino>()
  const { paths, asked } = await withKernel(ino => kept.has(ino))
  const { fs, caller } = paths
  const open = await paths.create('open')
  for (let i = 0; i < COUNT; i++) {
    const { attributes } = await fs.mknod(ROOT_INO, name(`f${i}`), 0o100644, 0, caller)
    if (i < 10) kept.add(attributes.ino)
    if (i % 4096 === 0) await fs.sync()
  }
  expect(fs.stats().inodesInUse).toBeLessThan(REMEMBERED_MAX + 1000)
  expect(asked).not.toContain(open.ino)
  // The kernel has kept them: it is asked again only when all others have been.
  for (const ino of kept) expect(asked.filter(one => one === ino)).toHaveLength(1)
  await fs.close()
})
