/** Small files, whose data is in their inodes: their move to blocks, and their past. */
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { differences } from '../../../core/history/difference.ts'
import { FileContent } from '../../../core/history/file-content.ts'
import { MomentView } from '../../../core/history/moment-view.ts'
import { INLINE_BYTES_MAX } from '../../../core/tree/inode.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { formatTid, type Tid } from '../../../store/ids.ts'
import { historyOf } from '../../../mount/daemon/history-calls.ts'
import { Random } from '../../stress/random.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

/** The classes of the newest records of a database, each with its number. */
function classes(database: string): Record<string, number> {
  const db = new Database(database, { readonly: true })
  try {
    const counts: Record<string, number> = {}
    const heads = db.prepare<[], Buffer>(
      'SELECT head FROM revision r WHERE tid = (SELECT max(tid) FROM revision WHERE oid = r.oid)',
    )
    for (const head of heads.pluck().iterate()) {
      const [module = '', name = ''] = head.subarray(3).toString('latin1').split('\n')
      counts[`${module}.${name}`] = (counts[`${module}.${name}`] ?? 0) + 1
    }
    return counts
  } finally {
    db.close()
  }
}

async function expectClean(database: string): Promise<void> {
  const found: unknown[] = []
  const report = (damage: unknown): unknown => found.push(damage)
  await checkDatabase(database, { data: true, repair: false, report, progress: () => undefined })
  expect(found).toEqual([])
}

async function rangesOf(database: string, from: Tid, to: Tid): Promise<readonly string[]> {
  const store = await openSqliteStore(database, { readOnly: true })
  try {
    const found: string[] = []
    for await (const { path, ranges } of differences(store, from, to))
      found.push([path, ...ranges.map(({ lo, hi }) => `${lo}-${hi}`)].join(' '))
    return found.sort()
  } finally {
    await store.close()
  }
}

test('a small file is one record; data that does not fit moves to a block, and all of it is read', async () => {
  const database = temporaryDatabase()
  const paths = await openPaths(database)
  for (let index = 0; index < 50; index++) await paths.write(`small-${index}`, `content ${index}`)
  await paths.fs.sync()
  expect(classes(database)).not.toHaveProperty('wendelin.bigfile.file_zodb.ZBigFile')
  const before = classes(database)['persistent.mapping.PersistentMapping'] ?? 0

  await paths.write('small-7', 'x'.repeat(INLINE_BYTES_MAX - 9), 9n)
  expect((await paths.read('small-7')).toString()).toBe(`content 7${'x'.repeat(INLINE_BYTES_MAX - 9)}`)
  await paths.fs.sync()
  expect(classes(database)).not.toHaveProperty('wendelin.bigfile.file_zodb.ZBigFile')
  await paths.write('small-7', 'y', BigInt(INLINE_BYTES_MAX))
  const content = `content 7${'x'.repeat(INLINE_BYTES_MAX - 9)}y`
  expect((await paths.read('small-7')).toString()).toBe(content)
  await paths.fs.close()
  expect(classes(database)).toMatchObject({
    'wendelin.bigfile.file_zodb.ZBigFile': 1,
    'persistent.mapping.PersistentMapping': before,
  })
  const again = await openPaths(database)
  expect((await again.read('small-7')).toString()).toBe(content)
  expect((await again.read('small-8')).toString()).toBe('content 8')
  expect((await again.at('small-8', async ino => await again.fs.getattr(ino))).blocks).toBe(8)
  await again.fs.close()
  await expectClean(database)
})

test('with a requested format small files have blocks too', async () => {
  const database = temporaryDatabase()
  const paths = await openPaths(database, { zblkFormat: 'zblk1' })
  await paths.write('small', 'content')
  await paths.fs.close()
  expect(classes(database)).toMatchObject({ 'wendelin.bigfile.file_zodb.ZBlk1': 1 })
})

describe.each([1, 2, 3])('random changes of a file around the limit, seed %i', seed => {
  test('read as those of a buffer, stored and restored', async () => {
    const database = temporaryDatabase()
    const random = new Random(seed)
    let paths = await openPaths(database)
    let file = await paths.create('file')
    let model: Buffer = Buffer.alloc(0)
    const resize = (size: number): Buffer =>
      Buffer.concat([model.subarray(0, size), Buffer.alloc(Math.max(0, size - model.length))])
    const check = async (): Promise<void> => {
      const found = await paths.readAt(file, 0n, 20_000)
      expect(found.equals(model), `${found.length} and ${model.length} bytes`).toBe(true)
    }
    for (let step = 0; step < 120; step++) {
      // Stays small at first, then crosses the limit.
      const limit = step < 60 ? INLINE_BYTES_MAX : 8000
      const off = random.below(limit)
      const len = random.below(limit - off)
      const kind = random.below(6)
      if (kind < 3) {
        const data = Buffer.alloc(len, 1 + random.below(255))
        await paths.fs.write(file.ino, file.fh, BigInt(off), data)
        if (len > 0) model = resize(Math.max(model.length, off + len))
        data.copy(model, off)
      } else if (kind === 3) {
        await paths.fs.setattr(file.ino, { size: BigInt(off) })
        model = resize(off)
      } else if (kind === 4 && len > 0) {
        await paths.fs.allocate(
          file.ino,
          file.fh,
          { keepSize: true, punchHole: true, zeroRange: false },
          BigInt(off),
          BigInt(len),
        )
        model.fill(0, Math.min(off, model.length), Math.min(off + len, model.length))
      } else if (kind === 5) {
        if (random.below(3) > 0) await paths.fs.sync()
        else {
          await paths.fs.close()
          paths = await openPaths(database)
          file = await paths.open('file')
        }
      }
      await check()
    }
    await paths.fs.close()
    await expectClean(database)
  })
})

test('data, holes and copies of data in an inode', async () => {
  const database = temporaryDatabase()
  const paths = await openPaths(database)
  const file = await paths.create('file')
  await paths.fs.write(file.ino, file.fh, 0n, Buffer.from('content'))
  await paths.fs.setattr(file.ino, { size: 1n << 20n })
  const seek = (off: bigint, whence: 'data' | 'hole'): Promise<bigint> =>
    paths.fs.seek(file.ino, file.fh, off, whence)
  expect(await seek(3n, 'data')).toBe(3n)
  expect(await seek(0n, 'hole')).toBe(4096n)
  expect(await seek(5000n, 'hole')).toBe(5000n)
  await expect(seek(4096n, 'data')).rejects.toMatchObject({ code: 'ENXIO' })
  const target = await paths.create('target')
  await paths.fs.write(target.ino, target.fh, 0n, Buffer.alloc(1 << 20, 'x'))
  let copied = 0n
  while (copied < 1n << 20n)
    copied += await paths.fs.copyFileRange(
      { ...file, off: copied },
      { ...target, off: copied },
      (1n << 20n) - copied,
    )
  expect((await paths.read('target')).equals(await paths.read('file'))).toBe(true)
  await paths.fs.close()
  await expectClean(database)
})

test('the past of a small file: views, differences, undo, restore and clone', async () => {
  const database = temporaryDatabase()
  const paths = await openPaths(database)
  const { fs } = paths
  await paths.write('file', 'first')
  await paths.write('other', 'same')
  const first = await fs.sync()
  await paths.write('file', 'second')
  const second = await fs.sync()
  await paths.write('file', 'z'.repeat(5000))
  const third = await fs.sync()
  const before = (tid: Tid): string => `@${formatTid(tid)}`
  expect((await paths.read(`${before(first)}/file`)).toString()).toBe('first')
  expect((await paths.read(`${before(second)}/file`)).toString()).toBe('second')
  expect(await rangesOf(database, first, second)).toEqual(['file 0-6'])
  expect(await rangesOf(database, second, third)).toEqual(['file 0-5000'])
  await historyOf(fs).clone('file', 'copy', formatTid(second))
  await historyOf(fs).restore(['file'], formatTid(first), false)
  expect((await paths.read('copy')).toString()).toBe('second')
  expect((await paths.read('file')).toString()).toBe('first')
  const restored = await fs.sync()
  expect(await rangesOf(database, third, restored)).toEqual(['copy', 'file 0-5000'])
  expect((await paths.at('file', async ino => await fs.getattr(ino))).blocks).toBe(8)
  const store = await openSqliteStore(database, { readOnly: true })
  const view = await MomentView.open(store, first)
  const inode = await view.find('file')
  if (inode === undefined) throw new TypeError('no file')
  const content = await FileContent.of(view, inode)
  expect((await content.whole()).toString()).toBe('first')
  for await (const piece of content.pieces(2n, 4n)) expect(Buffer.from(piece).toString()).toBe('rs')
  await store.close()
  await historyOf(fs).undo(second)
  await fs.close()
  await expectClean(database)
})

test('an undone size of a small file does not cut off data that was written since', async () => {
  const database = temporaryDatabase()
  const paths = await openPaths(database)
  const { fs } = paths
  await paths.write('file', 'some')
  await fs.sync()
  await paths.at('file', ino => fs.setattr(ino, { size: 100n }))
  const extended = await fs.sync()
  const file = await paths.open('file')
  await fs.write(file.ino, file.fh, 50n, Buffer.from('later'))
  await fs.sync()
  await expect(historyOf(fs).undo(extended)).rejects.toThrow('was changed again')
  await fs.close()
  await expectClean(database)
})
