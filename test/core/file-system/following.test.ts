import { pino } from 'pino'
import { expect, onTestFinished, test, vi } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { name as toName, ROOT_INO, type Ino, type Notifier } from '../../../core/file-system/operations.ts'
import type { Watcher, Watching } from '../../../store/capabilities.ts'
import { MemoryDatabase, MemoryReader, MemoryStore } from '../../../store/memory/memory-store.ts'
import { Paths } from '../../tools/paths.ts'
import { treeOf } from '../../tools/tree-hash.ts'

class Recorder implements Notifier {
  inodes: Ino[] = []
  names: string[] = []
  absences = 0
  invalidateInode(ino: Ino): void {
    this.inodes.push(ino)
  }
  invalidateEntry(_parent: Ino, name: string): void {
    this.names.push(name)
  }
  invalidateNames(): void {
    this.absences++
  }
  async invalidateAttributes(): Promise<void> {}
  async settled(): Promise<void> {}
}

/** Watching that moves on when the test says so. */
class ManualWatching implements Watching {
  #watcher: Watcher | undefined
  watch(watcher: Watcher): () => void {
    this.#watcher = watcher
    return () => (this.#watcher = undefined)
  }
  async moveTo(tid: Parameters<Watcher['onAdvance']>[0]): Promise<void> {
    await this.#watcher?.onAdvance(tid)
  }
}

interface Pair {
  readonly writer: Paths
  readonly reader: Paths
  readonly notifier: Recorder
  /** Stores what the writer has, and moves the reader there. */
  readonly follow: () => Promise<void>
}

async function openPair(): Promise<Pair> {
  const database = new MemoryDatabase()
  const writer = new Paths(await FileSystem.open(new MemoryStore(database), { commitIntervalMs: 1e9 }))
  const watching = new ManualWatching()
  const notifier = new Recorder()
  const readOnly = await FileSystem.open(new MemoryReader(database))
  const reader = new Paths(readOnly.following(watching, pino({ level: 'silent' })))
  reader.fs.attach(notifier)
  onTestFinished(async () => {
    await reader.fs.close()
    await writer.fs.close()
  })
  const follow = async (): Promise<void> => await watching.moveTo(await writer.fs.sync())
  return { writer, reader, notifier, follow }
}

test('a read-only filesystem shows each transaction that it advances to', async () => {
  const { writer, reader, follow } = await openPair()
  const shown: string[] = []
  for (let i = 0; i < 40; i++) {
    const file = `file${i % 5}`
    await writer.write(file, Buffer.alloc(5000 + i * 100, i), BigInt((i * 7919) % 3_000_000))
    if (i % 7 === 3) await writer.truncate(file, 1000n)
    if (i % 5 === 1) await writer.mkdir(`dir${i}`)
    if (i % 5 === 2) await writer.rename(file, `dir${i - 1}/${file}`)
    const before = await treeOf(reader, '')
    await follow()
    const after = await treeOf(reader, '')
    expect(after).toBe(await treeOf(writer, ''))
    expect(after).not.toBe(before)
    expect(await reader.fs.lastTid()).toBe(await writer.fs.lastTid())
    shown.push(after)
  }
  expect(new Set(shown).size).toBe(shown.length)
})

test('exactly the changed data is invalidated in the kernel', async () => {
  const { writer, reader, notifier, follow } = await openPair()
  await writer.mkdir('a')
  await writer.mkdir('b')
  for (const name of ['a/changed', 'a/same', 'b/other']) await writer.write(name, name)
  await follow()
  // The kernel keeps what it has looked up.
  const lookUp = async (parent: Ino, text: string): Promise<Ino> =>
    (await reader.fs.lookup(parent, toName(text))).attributes.ino
  const [a, b] = [await lookUp(ROOT_INO, 'a'), await lookUp(ROOT_INO, 'b')]
  const [changed, same, other] = [
    await lookUp(a, 'changed'),
    await lookUp(a, 'same'),
    await lookUp(b, 'other'),
  ]
  notifier.inodes = []
  notifier.names = []
  notifier.absences = 0
  await writer.write('a/changed', 'new content')
  await follow()
  expect(notifier.inodes).toContain(changed)
  expect(notifier.inodes).not.toContain(same)
  expect(notifier.absences).toBe(0)
  notifier.inodes = []
  await writer.unlink('a/same')
  await follow()
  expect(notifier.absences).toBe(1)
  expect(notifier.names).toContain('same')
  expect(notifier.names).toContain('changed')
  expect(notifier.names).not.toContain('other')
  expect(notifier.inodes).not.toContain(other)
})

test('an operation sees one transaction during concurrent commits', async () => {
  const { writer, reader, follow } = await openPair()
  const size = 3 << 20
  await writer.write('file', Buffer.alloc(size, 0))
  await follow()
  const progress = { done: false }
  const read = async (): Promise<number> => {
    let reads = 0
    while (!progress.done) {
      const bytes = await reader.read('file')
      expect(new Set(bytes).size).toBe(1)
      reads++
      await new Promise(resolve => setImmediate(resolve))
    }
    return reads
  }
  const reading = read()
  for (let value = 1; value <= 12; value++) {
    await writer.write('file', Buffer.alloc(size, value))
    await follow()
  }
  progress.done = true
  expect(await reading).toBeGreaterThan(1)
  await vi.waitFor(async () => expect((await reader.read('file'))[0]).toBe(12))
})
