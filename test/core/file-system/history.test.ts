import { describe, expect, onTestFinished, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { historyOf } from '../../../mount/daemon/history-calls.ts'
import { NoSpaceError } from '../../../store/errors.ts'
import { formatTid, tid, type Tid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'
import { treeOf } from '../../tools/tree-hash.ts'

const CHUNK = 4096
const MiB = 1 << 20

const message = (doing: Promise<unknown>): Promise<string> =>
  doing.then(
    () => 'done',
    (error: unknown) => (error instanceof Error ? error.message : String(error)),
  )

describe('tags', () => {
  test('name moments, can be moved and removed', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    await paths.write('file', 'one')
    const one = await fs.sync()
    expect(await historyOf(fs).tag('first')).toEqual({ name: 'first', tid: one })
    await paths.write('file', 'two')
    await historyOf(fs).tag('second')
    expect((await paths.read('@first/file')).toString()).toBe('one')
    expect((await paths.read('@second/file')).toString()).toBe('two')
    await historyOf(fs).tag('second', formatTid(one))
    await historyOf(fs).untag('first')
    expect(await message(historyOf(fs).untag('first'))).toContain('there is no tag first')
    expect(await message(historyOf(fs).tag('2h'))).toContain('cannot be a tag')
    expect(await message(historyOf(fs).tag('a/b'))).toContain('cannot be a tag')
    expect(await message(historyOf(fs).tag('x', '2999-01-01'))).toContain('has no moment')
  })

  test('held ones stay where they are until they are released', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    await paths.write('file', 'one')
    const one = await fs.sync()
    const history = historyOf(fs)
    const hold = (name: string, holds: boolean): ReturnType<typeof history.tag> =>
      history.tag(name, undefined, true, undefined, holds)
    expect(await message(hold('kept', false))).toContain('there is no tag kept')
    expect(await hold('kept', true)).toEqual({ name: 'kept', tid: one })
    await paths.write('file', 'two')
    const two = await fs.sync()
    expect(await message(history.tag('kept'))).toContain('the tag kept is held')
    expect(await message(history.untag('kept'))).toContain('the tag kept is held')
    expect(await history.tag('kept', formatTid(one))).toEqual({ name: 'kept', tid: one })
    expect((await paths.read('@kept/file')).toString()).toBe('one')
    // What is held or released without a moment keeps its own.
    expect(await hold('kept', true)).toEqual({ name: 'kept', tid: one })
    expect(await hold('kept', false)).toEqual({ name: 'kept', tid: one })
    expect(await history.tag('kept', formatTid(two))).toEqual({ name: 'kept', tid: two })
    await history.untag('kept')
  })
})

describe('undo', () => {
  test('reverts the last transactions, one by one', async () => {
    const paths = await openPaths(temporaryDatabase(), { commitIntervalMs: 1e9 })
    const { fs } = paths
    await paths.mkdir('dir')
    await paths.write('dir/file', Buffer.alloc(3 * MiB, 1))
    await paths.write('other', 'other')
    const made: [Tid, string][] = [[await fs.sync(), await contents(paths)]]
    const steps: (() => Promise<unknown>)[] = [
      () => paths.write('dir/file', 'x', 5n),
      () => paths.truncate('dir/file', 100n),
      () => paths.unlink('other'),
      () => paths.rename('dir', 'renamed'),
      () => paths.write('new', Buffer.alloc(10 * CHUNK, 7)),
      () => paths.link('new', 'renamed/link'),
      () => paths.symlink('new', 'symlink'),
      () => paths.rmdir('renamed').catch(() => paths.mkdir('renamed/below')),
      () => paths.at('new', ino => fs.setattr(ino, { mode: 0o600 })),
      async () => {
        for (let i = 0; i < 100; i++) await paths.write(`many${i}`, String(i))
      },
    ]
    for (const step of steps) {
      await step()
      made.push([await fs.sync(), await contents(paths)])
    }
    for (let i = steps.length; i > 0; i--) {
      await historyOf(fs).undo(made[i]![0])
      expect(await contents(paths), `after undoing step ${i}`).toBe(made[i - 1]![1])
    }
    await paths.write('still', 'works')
    await fs.sync()
  })

  test('keeps later changes of other files, names and chunks', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    await paths.write('file', Buffer.alloc(8 * CHUNK, 1))
    await fs.sync()
    await paths.write('file', Buffer.alloc(CHUNK, 2), 0n)
    await paths.write('unwanted', 'x')
    const unwanted = await fs.sync()
    await paths.write('file', Buffer.alloc(CHUNK, 3), BigInt(4 * CHUNK))
    await paths.write('wanted', 'y')
    await fs.sync()
    await historyOf(fs).undo(unwanted)
    expect(await paths.list('')).toEqual(['file', 'wanted'])
    const expected = Buffer.alloc(8 * CHUNK, 1)
    expected.fill(3, 4 * CHUNK, 5 * CHUNK)
    expect((await paths.read('file')).equals(expected)).toBe(true)
  })

  test('is refused, with the conflicts, if later changes overlap', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    await paths.write('file', Buffer.alloc(CHUNK, 1))
    const first = await fs.sync()
    await paths.write('file', 'later')
    const later = await fs.sync()
    const before = await treeOf(paths, '')
    const last = await fs.sync()
    expect(await message(historyOf(fs).undo(first))).toMatch(
      new RegExp(`${formatTid(first)} cannot be undone[^]*${formatTid(later)}  file`),
    )
    expect(await message(historyOf(fs).undo(tid(later + 1n)))).toContain('there is no transaction')
    expect(await treeOf(paths, '')).toBe(before)
    expect(await fs.sync()).toBe(last)
  })

  test('takes little memory, and reverts all or nothing', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    const blocks = 2000
    await paths.write('file', Buffer.alloc(2 * blocks * CHUNK, 'a'))
    const before = await fs.sync()
    for (let i = 0; i < blocks; i++)
      await paths.write('file', Buffer.alloc(CHUNK, 'b'), BigInt(2 * i * CHUNK))
    for (let i = 0; i < 300; i++) await paths.write(`new-${i}`, 'new')
    const undone = await fs.sync()
    const tree = await treeOf(paths, '')
    await paths.write('file', 'later', BigInt(2 * (blocks - 1) * CHUNK))
    const later = await fs.sync()
    fs.adjust({ dirtySizeBytes: 65_536 })
    // The clash is found after parts were stored.
    expect(await message(historyOf(fs).undo(undone))).toContain(formatTid(later))
    expect(await fs.lastTid()).toBe(later)
    await historyOf(fs).undo(later)
    expect(await contents(paths)).toBe(await contents(paths, `@${formatTid(undone)}`))
    expect((await treeOf(paths, '')).length).toBe(tree.length)
    let peak = 0
    const timer = setInterval(() => (peak = Math.max(peak, fs.stats().dirtyBytes)), 1)
    await historyOf(fs).undo(undone)
    clearInterval(timer)
    expect(peak).toBeGreaterThan(0)
    expect(peak).toBeLessThan(4 * 65_536)
    expect(await contents(paths)).toBe(await contents(paths, `@${formatTid(before)}`))
    expect(await paths.list('')).toEqual(['file'])
  })
})

describe('restore and clone', () => {
  test('a restored file keeps its inode and shares its bytes with the past', async () => {
    const path = temporaryDatabase()
    const paths = await openPaths(path)
    const { fs } = paths
    const old = Buffer.concat([Buffer.alloc(4 * MiB, 1), Buffer.alloc(10 * CHUNK, 2)])
    await paths.write('dir-less', old)
    const then = formatTid(await fs.sync())
    const { ino } = await paths.stat('dir-less')
    await paths.write('dir-less', Buffer.alloc(CHUNK, 9), 100n)
    await paths.truncate('dir-less', 500n)
    await fs.sync()
    const stored = (await paths.stat('dir-less')).blocks
    await historyOf(fs).restore(['dir-less'], then, false)
    expect((await paths.read('dir-less')).equals(old)).toBe(true)
    expect((await paths.stat('dir-less')).ino).toBe(ino)
    expect((await paths.stat('dir-less')).blocks).toBeGreaterThan(stored)
    await paths.unlink('dir-less')
    await fs.sync()
    await historyOf(fs).restoreAs('dir-less', then, 'back', false)
    expect((await paths.read('back')).equals(old)).toBe(true)
    expect(await message(historyOf(fs).restore(['nothing'], then, false))).toContain('did not exist')
    expect(await message(historyOf(fs).restoreAs('dir-less', then, 'no/where', false))).toContain(
      'no parent directory',
    )
  })

  test('a directory is restored with everything below it', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    await paths.mkdir('top')
    await paths.mkdir('top/below', 0o700)
    await paths.write('top/below/file', Buffer.alloc(3 * CHUNK, 5))
    await paths.link('top/below/file', 'top/link')
    await paths.symlink('below/file', 'top/symlink')
    const then = formatTid(await fs.sync())
    const tree = await contents(paths, 'top')
    const { files: filesThen } = { files: (await fs.statfs()).files - (await fs.statfs()).filesFree }
    for (const file of ['top/below/file', 'top/link', 'top/symlink']) await paths.unlink(file)
    await paths.rmdir('top/below')
    await paths.rmdir('top')
    await fs.sync()
    await historyOf(fs).restore(['top'], then, false)
    expect(await contents(paths, 'top')).toBe(tree)
    expect((await fs.statfs()).files - (await fs.statfs()).filesFree).toBe(filesThen)
    await paths.write('top/link', 'changed')
    expect((await paths.read('top/below/file')).subarray(0, 7).toString()).toBe('changed')
    // A directory that is there is restored in place.
    await historyOf(fs).restore(['top'], then, false)
    expect(await contents(paths, 'top')).toBe(tree)
  })

  test('100 clones are edited independently', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    const content = Buffer.concat([Buffer.alloc(2 * MiB, 1), Buffer.alloc(20 * CHUNK, 2)])
    await paths.write('source', content)
    for (let i = 0; i < 100; i++) {
      await historyOf(fs).clone('source', `clone${i}`)
      await paths.write(`clone${i}`, `this is clone ${i}`, BigInt(i * 5000))
      await paths.write('source', `source ${i}`, BigInt(i * 7000))
      Buffer.from(`source ${i}`).copy(content, i * 7000)
    }
    await fs.sync()
    for (const i of [0, 1, 57, 99]) {
      const expected = Buffer.concat([Buffer.alloc(2 * MiB, 1), Buffer.alloc(20 * CHUNK, 2)])
      for (let j = 0; j < i; j++) Buffer.from(`source ${j}`).copy(expected, j * 7000)
      Buffer.from(`this is clone ${i}`).copy(expected, i * 5000)
      expect((await paths.read(`clone${i}`)).equals(expected), `clone ${i}`).toBe(true)
    }
    expect((await paths.read('source')).equals(content)).toBe(true)
    await paths.mkdir('directory')
    await historyOf(fs).clone('clone5', 'directory')
    expect(await paths.list('directory')).toEqual(['clone5'])
    expect(await message(historyOf(fs).clone('clone5', 'clone6'))).toContain('exists already')
  })
})

describe('a delimited transaction', () => {
  test('is one transaction despite syncs within it', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    const before = await fs.sync()
    await historyOf(fs).begin()
    await paths.write('a', 'a')
    expect(await fs.sync()).toBe(before)
    await paths.write('b', 'b')
    expect(await message(historyOf(fs).tag('x'))).toContain('a transaction is open')
    const after = await historyOf(fs).commit('both')
    expect(await paths.list(`@${formatTid(before)}`)).toEqual([])
    expect(await paths.list(`@${formatTid(after)}`)).toEqual(['a', 'b'])
  })

  test('leaves nothing when it is rolled back', async () => {
    const paths = await openPaths(temporaryDatabase())
    const { fs } = paths
    await paths.mkdir('dir')
    await paths.write('dir/file', Buffer.alloc(3 * MiB, 1))
    await paths.write('other', 'other')
    await fs.sync()
    const before = await treeOf(paths, '')
    const open = await paths.open('other')
    await historyOf(fs).begin()
    await paths.write('dir/file', 'changed', 77n)
    await paths.truncate('dir/file', 1000n)
    await paths.rename('dir', 'renamed')
    await paths.unlink('other')
    const made = await paths.create('new')
    await fs.write(made.ino, made.fh, 0n, Buffer.from('new'))
    await historyOf(fs).rollBack()
    expect(await treeOf(paths, '')).toBe(before)
    expect((await paths.readAt(open, 0n, 10)).toString()).toBe('other')
    expect(await codeOf(async () => await fs.write(made.ino, made.fh, 0n, Buffer.from('x')))).toBe('ESTALE')
    await paths.close(made)
    await paths.close(open)
    await paths.write('dir/file', 'goes on')
    const last = await fs.sync()
    expect(await treeOf(paths, '')).toBe(await treeOf(paths, `@${formatTid(last)}`))
  })

  test('that begins while another one fails to be stored is not rolled back with it', async () => {
    const store = await openSqliteStore(temporaryDatabase(), { create: true })
    const fs = await FileSystem.open(store)
    onTestFinished(() => fs.close().catch(() => undefined))
    const paths = new Paths(fs)
    await paths.write('file', 'old')
    const old = formatTid(await fs.sync())
    await paths.write('file', 'new')
    await fs.sync()
    const history = historyOf(fs)
    const commit = store.commit.bind(store)
    let begun: Promise<void> | undefined
    store.commit = transaction => {
      if (!transaction.description?.startsWith('restore')) return commit(transaction)
      begun = history.begin()
      return Promise.reject(new NoSpaceError('the disk is full'))
    }
    expect(await codeOf(history.restore(['file'], old, false))).toBe('NoSpaceError')
    await begun
    await paths.write('other', 'other')
    await history.commit()
    expect(await paths.list('')).toEqual(['file', 'other'])
    expect((await paths.read('file')).toString()).toBe('new')
  })

  test('may be larger than memory, and is atomic', async () => {
    const paths = await openPaths(temporaryDatabase(), { dirtySizeBytes: 2 * MiB })
    const { fs } = paths
    const bytes = (fill: number): Buffer => Buffer.alloc(16 * MiB, fill)
    await paths.write('kept', 'kept')
    const before = await fs.sync()
    await historyOf(fs).begin()
    for (let part = 0; part < 16; part++)
      await paths.write('file', bytes(1).subarray(0, MiB), BigInt(part * MiB))
    await paths.unlink('kept')
    expect(fs.stats().dirtyBytes).toBeLessThan(4 * MiB)
    expect(await fs.lastTid()).toBe(before)
    expect((await paths.read('file')).equals(bytes(1))).toBe(true)
    expect(await paths.list(`@${formatTid(before)}`)).toEqual(['kept'])
    await historyOf(fs).rollBack()
    expect(await paths.list('')).toEqual(['kept'])
    expect((await paths.read('kept')).toString()).toBe('kept')

    await historyOf(fs).begin()
    for (let part = 0; part < 16; part++)
      await paths.write('file', bytes(2).subarray(0, MiB), BigInt(part * MiB))
    await paths.write('file', 'first', 0n)
    const after = await historyOf(fs).commit('large')
    expect(await fs.lastTid()).toBe(after)
    for (const path of ['file', `@${formatTid(after)}/file`]) {
      const found = await paths.read(path)
      expect(found.subarray(0, 5).toString()).toBe('first')
      expect(found.subarray(5).equals(bytes(2).subarray(5))).toBe(true)
    }
  })
})

/** A tree without the times of changes of inodes. */
async function contents(paths: Awaited<ReturnType<typeof openPaths>>, top = ''): Promise<string> {
  const tree = await treeOf(paths, top)
  return tree
    .split('\n')
    .map(line => line.split(' ').toSpliced(7, 1).join(' '))
    .join('\n')
}
