/** What damage in one file means for all others. */
import { expect, test } from 'vitest'
import { Connection } from '../../../core/connection.ts'
import { BigFile } from '../../../core/big-file.ts'
import type { ZBigFile } from '../../../core/zblk/zbigfile.ts'
import { Inode } from '../../../core/inode.ts'
import type { Ref } from '../../../core/pickle/value.ts'
import type { ZBlk1 } from '../../../core/zblk/zblk.ts'
import { FileSystem } from '../../../mount/file-system.ts'
import { oid } from '../../../store/ids.ts'
import { MemoryStore } from '../../tools/memory-store.ts'
import { codeOf, Paths } from '../../tools/paths.ts'

const CHUNK = 4096

/** A store with a file 'damaged', whose first block's tree of chunks cannot be read, and a file 'sound'. */
async function damagedStore(): Promise<MemoryStore> {
  const store = new MemoryStore()
  const made = new Paths(await FileSystem.open(store))
  await made.write('damaged', Buffer.alloc(3 * CHUNK, 1))
  await made.write('sound', 'before')
  const { ino } = await made.stat('damaged')
  await made.fs.close()
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

test('a write into a block that cannot be read fails, and keeps nobody from storing', async () => {
  const store = await damagedStore()
  const paths = new Paths(await FileSystem.open(store, { commitIntervalMs: 1e8 }))
  expect(await codeOf(paths.write('damaged', Buffer.alloc(CHUNK, 2)))).toBe('CorruptRecordError')
  await paths.write('sound', 'after!')
  await paths.fs.sync()
  await paths.fs.close()
  expect((await new Paths(await FileSystem.open(store)).read('sound')).toString()).toBe('after!')
})

test('a file goes on behind a block that cannot be read', async () => {
  const store = await damagedStore()
  const paths = new Paths(await FileSystem.open(store, { commitIntervalMs: 1e8 }))
  await paths.write('damaged', 'behind', 2n << 20n)
  await paths.fs.sync()
  await paths.fs.close()
})
