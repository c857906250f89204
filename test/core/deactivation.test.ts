import { beforeEach, describe, expect, it } from 'vitest'
import { BigFile } from '../../core/big-file/big-file.ts'
import { Connection } from '../../core/objects/connection.ts'
import type { ClassCounts } from '../../core/objects/object-cache.ts'
import type { Persistent } from '../../core/objects/persistent.ts'
import type { Ref } from '../../core/objects/pickle/value.ts'
import { BLKSIZE, ZBigFile } from '../../core/zblk/zbigfile.ts'
import type { ZBlk1 } from '../../core/zblk/zblk.ts'
import { collectGarbage } from '../tools/collect-garbage.ts'
import { TestStore } from '../tools/test-store.ts'

const BLOCKS = 6
const data = new Uint8Array(BLKSIZE).map((_, i) => (i % 251) + 1)

let store: TestStore
let connection: Connection
let file: BigFile

beforeEach(async () => {
  store = new TestStore()
  const writing = await Connection.open(store, {
    cacheSizeBytes: 64 << 20,
    zblkFormat: 'zblk1',
    chunkBytesMax: 4096,
  })
  const written = await BigFile.create(writing)
  for (let blk = 0; blk < BLOCKS; blk++) await written.write(BigInt(blk * BLKSIZE), data)
  await writing.prepare()
  await writing.commit()
  connection = await Connection.open(store, { cacheSizeBytes: 64 << 20, zblkFormat: 'zblk1' })
  file = await BigFile.open(connection, connection.get(written.file.oid, ZBigFile.CLASS_NAME) as ZBigFile)
  await file.file.blktab.get(0)
})

/** What is in memory of chunk trees: `ghosts + up to date + changed`. */
async function inMemory(): Promise<Record<string, string>> {
  await collectGarbage()
  const { classes } = connection.statistics()
  const show = ({ ghosts, upToDate, changed }: ClassCounts): string => `${ghosts} + ${upToDate} + ${changed}`
  return Object.fromEntries(
    ['ZBlk1', 'IOBTree', 'IOBucket', 'ZData'].map(name => {
      const found = Object.entries(classes).find(([className]) => className.endsWith(`.${name}`))
      return [name, found === undefined ? 'none' : show(found[1])]
    }),
  )
}

async function block(blk: number): Promise<ZBlk1> {
  const found = connection.resolve((await file.file.blktab.get(blk)) as Ref) as ZBlk1
  await found.activate()
  return found
}

/** Loads a block's whole tree as objects. */
async function loadAll(blk: number): Promise<Persistent[]> {
  const { chunktab } = await block(blk)
  const chunks: Persistent[] = []
  for await (const [, chunk] of chunktab.range()) chunks.push(connection.resolve(chunk as Ref))
  await connection.loadMany(chunks)
  return [...chunks, ...chunktab.content.children.map(ref => connection.resolve(ref))]
}

const serve = async (blk: number): Promise<Uint8Array[]> => await file.read(BigInt(blk * BLKSIZE), BLKSIZE)

describe('serving a block of 512 chunks', () => {
  it('leaves a ghost IOBTree and a ZBlk1, no IOBucket and no ZData', async () => {
    for (let blk = 0; blk < BLOCKS; blk++) expect(Buffer.concat(await serve(blk)).equals(data)).toBe(true)
    expect(await inMemory()).toEqual({
      ZBlk1: `0 + ${BLOCKS} + 0`,
      IOBTree: `${BLOCKS} + 0 + 0`,
      IOBucket: 'none',
      ZData: 'none',
    })
  })

  it('would leave 512 ZData and 17 IOBuckets as well without deactivation', async () => {
    const kept: Persistent[] = []
    for (let blk = 0; blk < BLOCKS; blk++) kept.push(...(await loadAll(blk)))
    expect(await inMemory()).toEqual({
      ZBlk1: `0 + ${BLOCKS} + 0`,
      IOBTree: `0 + ${BLOCKS} + 0`,
      IOBucket: `0 + ${17 * BLOCKS} + 0`,
      ZData: `0 + ${512 * BLOCKS} + 0`,
    })
    expect(kept).toHaveLength(529 * BLOCKS)
  })

  it('turns a tree that was live before into ghosts', async () => {
    const kept = await loadAll(0)
    expect(kept.every(({ status }) => status === 'up to date')).toBe(true)
    await serve(0)
    expect(kept.every(({ status }) => status === 'ghost')).toBe(true)
    kept.length = 0
    expect(await inMemory()).toEqual({
      ZBlk1: '0 + 1 + 0',
      IOBTree: '1 + 0 + 0',
      IOBucket: 'none',
      ZData: 'none',
    })
  })

  it('turns a tree loaded after the first read of the block into ghosts', async () => {
    await serve(0)
    const kept = await loadAll(0)
    await serve(0)
    expect(kept.every(({ status }) => status === 'ghost')).toBe(true)
  })

  it('turns live objects below a ghost tree into ghosts', async () => {
    const kept = await loadAll(0)
    ;(await block(0)).chunktab.deactivate()
    await serve(0)
    expect(kept.every(({ status }) => status === 'ghost')).toBe(true)
  })

  it('keeps changed objects', async () => {
    const { chunktab } = await block(0)
    await chunktab.delete(0)
    const changed = connection.resolve(chunktab.content.children[0]!)
    const kept = await loadAll(0)
    await serve(0)
    expect(changed.status).toBe('changed')
    expect(kept.filter(({ status }) => status !== 'ghost')).toEqual([changed])
  })

  it('stays within the bound of a small cache', async () => {
    const small = await Connection.open(store, { cacheSizeBytes: 1 << 20 })
    const again = await BigFile.open(small, small.get(file.file.oid, ZBigFile.CLASS_NAME) as ZBigFile)
    for (let blk = 0; blk < BLOCKS; blk++) await again.read(BigInt(blk * BLKSIZE), BLKSIZE)
    expect(small.statistics().cacheBytes).toBeLessThan(1 << 20)
  })
})
