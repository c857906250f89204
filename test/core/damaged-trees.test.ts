import { describe, expect, it } from 'vitest'
import { BigFile } from '../../core/big-file/big-file.ts'
import { IOBucket } from '../../core/btree/bucket.ts'
import { checkTree } from '../../core/btree/check.ts'
import { IOBTree } from '../../core/btree/tree.ts'
import { Connection } from '../../core/objects/connection.ts'
import { Ref, Tuple, type PickleValue } from '../../core/objects/pickle/value.ts'
import { encodeData, encodeRecord, ZDATA } from '../../core/objects/record.ts'
import { BLKSIZE, ZBigFile } from '../../core/zblk/zbigfile.ts'
import type { ZBlk1 } from '../../core/zblk/zblk.ts'
import { CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'
import type { Oid } from '../../store/ids.ts'
import { TestStore } from '../tools/test-store.ts'

interface Victim {
  readonly store: TestStore
  readonly file: Oid
  readonly tree: Oid
  readonly buckets: readonly Ref[]
  readonly chunks: readonly Ref[]
}

/** A block of 512 chunks. */
async function victim(): Promise<Victim> {
  const store = new TestStore()
  const connection = await Connection.open(store, {
    cacheSizeBytes: 8 << 20,
    zblkFormat: 'zblk1',
    chunkBytesMax: 4096,
  })
  const file = await BigFile.create(connection)
  await file.write(0n, new Uint8Array(BLKSIZE).fill(7))
  await connection.prepare()
  await connection.commit()
  const { chunktab } = connection.resolve((await file.file.blktab.get(0)) as Ref) as ZBlk1
  const chunks: Ref[] = []
  for await (const [, chunk] of chunktab.range()) chunks.push(chunk as Ref)
  return { store, file: file.file.oid, tree: chunktab.oid, buckets: chunktab.content.children, chunks }
}

const tree = (state: PickleValue): Uint8Array => encodeRecord(IOBTree.CLASS_NAME, state)
const bucket = (...state: PickleValue[]): Uint8Array =>
  encodeRecord('BTrees.IOBTree.IOBucket', new Tuple(state))
const tuple = (...items: PickleValue[]): Tuple => new Tuple(items)

const DAMAGES: Record<string, (victim: Victim) => void> = {
  'a tree that is its own child': ({ store, tree: oid, buckets }) => {
    store.damage(oid, tree(tuple(tuple(new Ref(oid, IOBTree.CLASS_NAME)), buckets[0]!)))
  },
  'a tree of another class': ({ store, tree: oid }) => {
    store.damage(oid, encodeRecord('BTrees.LOBTree.LOBTree', null))
  },
  'a missing bucket': ({ store, buckets }) => {
    store.damage(buckets[3]!.oid, undefined)
  },
  'a missing chunk': ({ store, chunks }) => {
    store.damage(chunks[100]!.oid, undefined)
  },
  'a bucket that is in the tree twice': ({ store, tree: oid, buckets }) => {
    store.damage(oid, tree(tuple(tuple(buckets[0]!, 4096 * 30, buckets[0]!), buckets[0]!)))
  },
  'keys out of order': ({ store, buckets, chunks }) => {
    store.damage(buckets[0]!.oid, bucket(tuple(4096, chunks[1]!, 0, chunks[0]!), buckets[1]!))
  },
  'a key beyond the block': ({ store, buckets, chunks }) => {
    store.damage(buckets.at(-1)!.oid, bucket(tuple(BLKSIZE, chunks[1]!)))
  },
  'a chunk that is a number': ({ store, buckets }) => {
    store.damage(buckets[0]!.oid, bucket(tuple(0, 1), buckets[1]!))
  },
  'a chunk that overlaps the next': ({ store, chunks }) => {
    const { head, body, tail } = encodeData(ZDATA, new Uint8Array(5000).fill(1))
    store.damage(chunks[5]!.oid, Buffer.concat([head, body, tail]))
  },
  'a chunk that reaches beyond the block': ({ store, chunks }) => {
    const { head, body, tail } = encodeData(ZDATA, new Uint8Array(5000).fill(1))
    store.damage(chunks.at(-1)!.oid, Buffer.concat([head, body, tail]))
  },
  'half a record': ({ store, buckets }) => {
    store.damage(buckets[2]!.oid, bucket(tuple(0, 1)).subarray(0, 50))
  },
}

describe('a damaged chunk tree', () => {
  for (const [name, damage] of Object.entries(DAMAGES))
    it(`is a clear error for a reader of the block: ${name}`, async () => {
      const damaged = await victim()
      damage(damaged)
      const connection = await Connection.open(damaged.store, { cacheSizeBytes: 8 << 20 })
      const file = await BigFile.open(
        connection,
        connection.get(damaged.file, ZBigFile.CLASS_NAME) as ZBigFile,
      )
      const error: unknown = await Promise.resolve()
        .then(() => file.read(0n, BLKSIZE))
        .then(
          () => undefined,
          (error: unknown) => error,
        )
      expect(error instanceof CorruptRecordError || error instanceof ObjectNotFoundError).toBe(true)
    })
})

describe('checkTree', () => {
  const broken: Record<string, (victim: Victim) => void> = {
    'is its own child': DAMAGES['a tree that is its own child']!,
    'has a bucket twice': DAMAGES['a bucket that is in the tree twice']!,
    'has keys outside of their separators': ({ store, buckets, chunks }) => {
      store.damage(buckets[2]!.oid, bucket(tuple(4096, chunks[0]!), buckets[3]!))
    },
    'has a chain that leaves a bucket out': ({ store, buckets, chunks }) => {
      store.damage(buckets[0]!.oid, bucket(tuple(0, chunks[0]!), buckets[2]!))
    },
    'has an empty bucket': ({ store, buckets }) => {
      store.damage(buckets[0]!.oid, bucket(tuple(), buckets[1]!))
    },
    'has a last bucket that is followed by another': ({ store, buckets, chunks }) => {
      store.damage(buckets.at(-1)!.oid, bucket(tuple(BLKSIZE - 4096, chunks[0]!), buckets[0]!))
    },
    'has another first bucket than it says': ({ store, tree: oid, buckets }) => {
      store.damage(oid, tree(tuple(tuple(buckets[0]!, 4096 * 30, buckets[1]!), buckets[1]!)))
    },
  }
  for (const [name, damage] of Object.entries(broken))
    it(`finds a tree that ${name}`, async () => {
      const damaged = await victim()
      damage(damaged)
      const connection = await Connection.open(damaged.store, { cacheSizeBytes: 8 << 20 })
      await expect(checkTree(connection.get(damaged.tree, IOBTree.CLASS_NAME) as IOBTree)).rejects.toThrow(
        CorruptRecordError,
      )
    })

  it('finds nothing in an intact one', async () => {
    const { store, tree: oid } = await victim()
    const connection = await Connection.open(store, { cacheSizeBytes: 8 << 20 })
    const { entries } = await checkTree(connection.get(oid, IOBTree.CLASS_NAME) as IOBTree)
    expect(entries).toBe(512)
    expect(connection.get(oid, IOBTree.CLASS_NAME)).not.toBeInstanceOf(IOBucket)
  })
})

describe('the work on a damaged tree is bounded', () => {
  it('if the chain of buckets disagrees with the nodes', async () => {
    const { store, tree: oid, buckets, chunks } = await victim()
    // Between two buckets, the chain makes a detour over thousands of others, and comes back to where it began.
    const writing = await Connection.open(store, { cacheSizeBytes: 8 << 20 })
    const detour: IOBucket[] = []
    for (let i = 0; i < 3000; i++)
      detour.push((await writing.createNamed('BTrees.IOBTree.IOBucket')) as IOBucket)
    for (const [i, { ref }] of detour.entries()) {
      const entries = { keys: [29 * 4096 + 1 + i], values: [chunks[0]!] }
      detour[(i || detour.length) - 1]!.assign(entries, ref)
    }
    await writing.prepare()
    await writing.commit()
    const keys = Array.from({ length: 30 }, (_, i) => [i * 4096, chunks[i]!]).flat()
    store.damage(buckets[0]!.oid, bucket(tuple(...keys), detour[0]!.ref))
    const connection = await Connection.open(store, { cacheSizeBytes: 8 << 20 })
    const damaged = connection.get(oid, IOBTree.CLASS_NAME) as IOBTree
    store.reads.records = 0
    await expect(damaged.minKey(29 * 4096 + 100_000_000)).resolves.toBeUndefined()
    await expect(damaged.minKey(29 * 4096 + 1)).rejects.toThrow(CorruptRecordError)
    expect(store.reads.records).toBeLessThan(10)
  })

  it('if nodes without entries refer to one another many times', async () => {
    const { store, tree: oid, file } = await victim()
    const writing = await Connection.open(store, { cacheSizeBytes: 8 << 20 })
    const empty = (await writing.createNamed('BTrees.IOBTree.IOBucket')) as IOBucket
    await writing.prepare()
    await writing.commit()
    store.damage(empty.oid, bucket(tuple()))
    let child = empty.ref
    for (let level = 0; level < 25; level++) {
      const node = await writing.create(IOBTree)
      await writing.prepare()
      await writing.commit()
      store.damage(node.oid, tree(tuple(tuple(child, 1, child), empty.ref)))
      child = node.ref
    }
    store.damage(oid, tree(tuple(tuple(child, 1, child), empty.ref)))
    const connection = await Connection.open(store, { cacheSizeBytes: 8 << 20 })
    const object = connection.get(file, ZBigFile.CLASS_NAME) as ZBigFile
    store.reads.records = 0
    await expect((await BigFile.open(connection, object)).read(0n, 10)).rejects.toThrow(CorruptRecordError)
    expect(store.reads.records).toBeLessThan(100)
  })
})
