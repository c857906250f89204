/** What damage in one file means for all others. */
import { constants } from 'node:fs'
import { expect, test } from 'vitest'
import { Connection } from '../../../core/objects/connection.ts'
import { BigFile } from '../../../core/big-file/big-file.ts'
import { BLKSIZE, type ZBigFile } from '../../../core/zblk/zbigfile.ts'
import { loadChunkIndex } from '../../../core/zblk/chunk-index.ts'
import { Inode } from '../../../core/tree/inode.ts'
import type { Ref } from '../../../core/objects/pickle/value.ts'
import { ZBlk1 } from '../../../core/zblk/zblk.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import { knownOid, oid, type Oid, type Tid } from '../../../store/ids.ts'
import { readSlicesInTurn } from '../../../store/read-slices.ts'
import type { RevisionPart, SliceRead } from '../../../store/store.ts'
import { MemoryDatabase } from '../../../store/memory/memory-store.ts'
import { TestStore } from '../../tools/test-store.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { type ZBlkFormat } from '../../../core/objects/zblk-format.ts'

const CHUNK = 4096

/** A store in which a part of an object's record cannot be read. */
class WornStore extends TestStore {
  worn: { readonly oid: Oid; readonly lo: number; readonly hi: number } | undefined

  override loadPart(oid: Oid, at: Tid, off: number, len: number): Promise<RevisionPart | undefined> {
    const { worn } = this
    if (worn?.oid === oid && off < worn.hi && off + len > worn.lo)
      return Promise.reject(new CorruptRecordError(oid, at, 'worn'))
    return super.loadPart(oid, at, off, len)
  }

  override readSlices(reads: readonly SliceRead[]): Promise<void> {
    return readSlicesInTurn(this, reads)
  }
}

const HEAD_BYTES = 200

/** A filesystem with a file 'damaged' of these bytes, opened anew when its first block's data is worn from `lo` on. */
async function wornPaths(
  content: Uint8Array,
  lo: number,
  hi: number,
  zblkFormat: ZBlkFormat = 'auto',
): Promise<{ readonly paths: Paths; readonly store: WornStore }> {
  const database = new MemoryDatabase()
  const made = new Paths(await FileSystem.open(new WornStore({ database }), { zblkFormat }))
  await made.write('damaged', content)
  const { ino } = await made.stat('damaged')
  await made.fs.close()
  const store = new WornStore({ database })
  const connection = await Connection.open(store, { cacheSizeBytes: 1 << 20 })
  const inode = Inode.at(connection, oid(ino))
  await inode.activate()
  const file = connection.resolve(inode.data as Ref) as ZBigFile
  await BigFile.open(connection, file)
  const ref = (await file.blktab.get(0)) as Ref
  const block = connection.resolve(ref)
  if (block instanceof ZBlk1) {
    await block.activate()
    const { oids } = await loadChunkIndex(block, BLKSIZE)
    store.worn = { oid: knownOid(oids[0]!), lo, hi }
  } else store.worn = { oid: ref.oid, lo, hi }
  return { paths: new Paths(await FileSystem.open(store, { commitIntervalMs: 1e8, zblkFormat })), store }
}

/** What each chunk reads as: its first byte, or 'lost'. */
async function chunksOf(paths: Paths, count: number): Promise<(number | string)[]> {
  const chunks: (number | string)[] = []
  const file = await paths.open('damaged')
  for (let i = 0; i < count; i++) {
    const chunk = paths.readAt(file, BigInt(i * CHUNK), 1)
    chunks.push(
      await chunk.then(
        ([byte]) => byte ?? 'end',
        () => 'lost',
      ),
    )
  }
  await paths.close(file)
  return chunks
}

/** A store with a file 'damaged', whose first block's tree of chunks cannot be read, and a file 'sound'. */
async function damagedStore(): Promise<TestStore> {
  const database = new MemoryDatabase()
  const made = new Paths(await FileSystem.open(new TestStore({ database })))
  await made.write('damaged', Buffer.alloc(3 * CHUNK, 1))
  await made.write('sound', 'before')
  const { ino } = await made.stat('damaged')
  await made.fs.close()
  const store = new TestStore({ database })
  const connection = await Connection.open(store, { cacheSizeBytes: 1 << 20 })
  const inode = Inode.at(connection, oid(ino))
  await inode.activate()
  const file = connection.resolve(inode.data as Ref) as ZBigFile
  await BigFile.open(connection, file)
  const block = connection.resolve((await file.blktab.get(0)) as Ref) as ZBlk1
  await block.activate()
  store.damage(block.chunktab.oid, Buffer.from('damage'))
  return store
}

test('a write into an unreadable block fails, and other changes are still stored', async () => {
  const store = await damagedStore()
  const paths = new Paths(await FileSystem.open(store, { commitIntervalMs: 1e8 }))
  expect(await codeOf(paths.write('damaged', Buffer.alloc(CHUNK, 2)))).toBe('CorruptRecordError')
  await paths.write('sound', 'after!')
  await paths.fs.sync()
  await paths.fs.close()
  expect((await new Paths(await FileSystem.open(store.found())).read('sound')).toString()).toBe('after!')
})

test('a write behind an unreadable block is stored', async () => {
  const store = await damagedStore()
  const paths = new Paths(await FileSystem.open(store, { commitIntervalMs: 1e8 }))
  await paths.write('damaged', 'behind', 2n << 20n)
  await paths.fs.sync()
  await paths.fs.close()
  const reopened = new Paths(await FileSystem.open(store.found()))
  const file = await reopened.open('damaged', constants.O_RDONLY)
  expect((await reopened.readAt(file, 2n << 20n, 10)).toString()).toBe('behind')
})

test('a write into an unreadable long chunk is stored with all else; the rest of the chunk is lost', async () => {
  const { paths, store } = await wornPaths(Buffer.alloc(20 * CHUNK, 1), 0, Infinity)
  await paths.write('damaged', Buffer.alloc(2 * CHUNK, 2), BigInt(3 * CHUNK))
  await paths.write('sound', 'after')
  await paths.fs.sync()
  const lost = (count: number): string[] => Array.from({ length: count }, () => 'lost')
  const expected = [...lost(3), 2, 2, ...lost(15)]
  expect(await chunksOf(paths, 20)).toEqual(expected)
  await paths.fs.close()
  const again = new Paths(await FileSystem.open(store.found()))
  expect((await again.read('sound')).toString()).toBe('after')
  expect(await chunksOf(again, 20)).toEqual(expected)
  await again.write('damaged', Buffer.alloc(20 * CHUNK, 3))
  await again.fs.sync()
  expect(await again.read('damaged')).toEqual(Buffer.alloc(20 * CHUNK, 3))
})

test('an unreadable end too short to be shared is lost when the rest is rewritten', async () => {
  const content = Buffer.alloc(20 * CHUNK + 100, 1)
  const { paths } = await wornPaths(content, 20 * CHUNK + HEAD_BYTES - 150, Infinity)
  await paths.write('damaged', Buffer.alloc(20 * CHUNK, 2))
  await paths.fs.sync()
  const expected = [...Array.from({ length: 20 }, () => 2), 'lost']
  expect(await chunksOf(paths, 21)).toEqual(expected)
})

test.each(['zblk0', 'auto'] as const)(
  'a block that is to be stored whole (%s) and cannot be read in part is stored in chunks',
  async zblkFormat => {
    const { paths } = await wornPaths(Buffer.alloc(256 * CHUNK, 1), 100 * CHUNK, 101 * CHUNK, zblkFormat)
    // With 'auto' it is filled up and left.
    await paths.write('damaged', Buffer.alloc(256 * CHUNK, 2), BigInt(256 * CHUNK))
    await paths.write('damaged', 'next', BigInt(BLKSIZE))
    await paths.write('sound', 'after')
    await paths.fs.sync()
    const chunks = await chunksOf(paths, 512)
    // What is shared of a ZBlk0 has the same bytes in another record, which this store can read.
    expect(chunks[100]).toBe(zblkFormat === 'zblk0' ? 1 : 'lost')
    expect([chunks[0], chunks[99], chunks[255], chunks[256], chunks[511]]).toEqual([1, 1, 1, 2, 2])
  },
)
