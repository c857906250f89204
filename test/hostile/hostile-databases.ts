/**
 * Databases as an attacker would make them to stop or mislead a reader: sound to the store (checksums, counts, references),
 * contradictory in what the objects contain. Each case has a name, what makes it, and what `fsck` says of it.
 */
import { LOBTree, OOBTree } from '../../core/btree/tree.ts'
import { Connection } from '../../core/objects/connection.ts'
import type { Persistent } from '../../core/objects/persistent.ts'
import { PersistentMapping } from '../../core/objects/persistent-mapping.ts'
import { ByteString, Ref, Tuple, type PickleValue } from '../../core/objects/pickle/value.ts'
import { encodeData, encodeRecord, ZBLK0 } from '../../core/objects/record.ts'
import { Directory } from '../../core/tree/directory.ts'
import { Inode } from '../../core/tree/inode.ts'
import { Superblock } from '../../core/tree/superblock.ts'
import { ZBigFile } from '../../core/zblk/zbigfile.ts'
import { oid, TID_NONE } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import { makeSmallDatabase } from '../core/check/small-database.ts'

export interface HostileCase {
  readonly name: string
  readonly make: (parts: HostileParts) => Promise<void>
  /** What a line of fsck's report matches. */
  readonly named: RegExp
}

/** A small filesystem, which the case damages. */
export interface HostileParts {
  readonly connection: Connection
  readonly superblock: Superblock
  readonly root: Inode
}

/** Makes the database of a case. */
export async function makeHostileDatabase(path: string, { make }: HostileCase): Promise<void> {
  await makeSmallDatabase(path, true)
  const store = await openDatabase(path)
  try {
    const connection = await Connection.open(store, { cacheSizeBytes: 4 << 20 })
    const superblock = await Superblock.open(connection)
    const root = Inode.at(connection, await superblock.rootOid())
    await root.activate()
    await make({ connection, superblock, root })
    await connection.prepare()
    await connection.commit({ description: 'made to be odd' })
  } finally {
    await store.close()
  }
}

export const HOSTILE_CASES: readonly HostileCase[] = [
  {
    name: 'a tree of entries whose children are itself',
    named: /is in the tree twice/,
    async make(parts) {
      const tree = await entriesOf(parts, await child(parts, 'a'))
      const itself = tree.ref
      await overwrite(
        parts,
        tree,
        new Tuple([new Tuple([itself, new ByteString('m'), itself, new ByteString('x'), itself]), bucketRef]),
      )
    },
  },
  {
    name: 'a directory that contains itself',
    named: /is also in another place/,
    async make(parts) {
      const directory = await child(parts, 'a')
      await Directory.of(parts.connection, directory).set('again', directory)
    },
  },
  {
    name: 'a directory with the entries of the one that it is in',
    named: /^\/a\/b: entries cannot be read: it is part of another directory/m,
    async make(parts) {
      const outer = await child(parts, 'a')
      const inner = await Directory.of(parts.connection, outer).get('b')
      if (inner === undefined || outer.entries === undefined) throw new TypeError('no directories')
      const inode = Inode.at(parts.connection, inner)
      await inode.activate()
      inode.entries = outer.entries
    },
  },
  {
    name: 'tags that are not transactions',
    named: /^superblock: the tag 'odd' is not a transaction/m,
    async make({ superblock }) {
      const tags = await superblock.tags()
      await tags.set(new ByteString('odd'), -(2n ** 70n))
      await tags.set(new ByteString('huge'), 2n ** 200n)
      await tags.set(new ByteString('text'), 'x')
    },
  },
  {
    name: 'a root directory that is a file',
    named: /^\/: the root is not a directory/m,
    async make({ root }) {
      root.mode = 0o100644
    },
  },
  {
    name: 'a superblock of another class',
    named: /^superblock: /m,
    async make(parts) {
      const tags = await parts.superblock.tags()
      const mapping = await parts.connection.root()
      mapping.set('zblkfs', tags.ref)
    },
  },
  {
    name: 'a root directory of another class',
    named: /^(superblock|structure|\/): /m,
    async make(parts) {
      const tags = await parts.superblock.tags()
      const ref = (await parts.connection.root()).get('zblkfs')
      if (!(ref instanceof Ref)) throw new TypeError('no superblock')
      const mapping = parts.connection.resolve(ref)
      if (!(mapping instanceof PersistentMapping)) throw new TypeError('no superblock')
      await mapping.activate()
      mapping.set('root', tags.ref)
    },
  },
  {
    name: 'names that no file can have',
    named: /^\/.*its name is not valid/m,
    async make(parts) {
      const a = await child(parts, 'a')
      const tree = await entriesOf(parts, parts.root)
      for (const name of ['', '.', '..', 'x/y', 'x\0y', 'n'.repeat(300)])
        await tree.set(new ByteString(name), a.ref)
      await tree.set('text', a.ref)
    },
  },
  {
    name: 'names in the root that a mount uses itself',
    named: /^\/\.zblkfs: the name is reserved/m,
    async make(parts) {
      const file = await Inode.create(parts.connection, { ...FILE, nlink: 3 })
      const entries = Directory.of(parts.connection, parts.root)
      for (const name of ['.zblkfs', '@10min', '@now']) await entries.set(name, file)
    },
  },
  {
    name: 'entries that lead to no inode',
    named: /^\/nothing: /m,
    async make(parts) {
      const tree = await entriesOf(parts, parts.root)
      const tags = await parts.superblock.tags()
      await tree.set(new ByteString('nothing'), new Ref(oid(987_654), PersistentMapping.CLASS_NAME))
      await tree.set(new ByteString('tree'), tags.ref)
      await tree.set(new ByteString('far'), new Ref(oid(2 ** 45), PersistentMapping.CLASS_NAME))
      await tree.set(new ByteString('number'), 5)
    },
  },
  {
    name: 'an inode that was left out of a commit',
    named: /^\/left-out: .*(does not exist|leads to no inode)/m,
    async make(parts) {
      const inode = await Inode.create(parts.connection, FILE)
      const values: PickleValue[] = []
      inode.object.set('strange', values)
      values.push(1n << 5000n)
      await Directory.of(parts.connection, parts.root).set('left-out', inode)
    },
  },
  {
    name: 'inodes with odd numbers',
    named: /^\/negative: an inode's uid is out of range/m,
    async make(parts) {
      const odd: Readonly<Record<string, (inode: Inode) => void>> = {
        negative: ({ object }) => {
          for (const key of ['uid', 'gid', 'nlink', 'size', 'rdev', 'stored']) object.set(key, -7)
        },
        huge: ({ object }) => {
          for (const key of ['uid', 'gid', 'size', 'rdev', 'stored', 'mtime']) object.set(key, 2n ** 80n)
        },
        old: ({ object }) => object.set('mtime', -(2n ** 99n)),
        mode: ({ object }) => object.set('mode', 2 ** 40),
        type: ({ object }) => object.set('mode', 0o110644),
        link: ({ object }) => {
          object.set('mode', 0o120777)
          object.set('target', ByteString.from(Buffer.alloc(1 << 20, 'x')))
        },
        attributes: ({ object }) =>
          object.set(
            'xattrs',
            new Map([[ByteString.key('user.long'), ByteString.from(Buffer.alloc(1 << 20))]]),
          ),
      }
      const entries = Directory.of(parts.connection, parts.root)
      for (const [name, change] of Object.entries(odd)) {
        const inode = await Inode.create(parts.connection, FILE)
        change(inode)
        await entries.set(name, inode)
      }
    },
  },
  {
    name: 'a file whose chain of buckets is endless',
    named: /^\/odd.*the last bucket is followed by/m,
    async make(parts) {
      const buckets = await parts.connection.newOids(CHAIN)
      const at = (i: number): Ref => new Ref(oid(buckets + i), LO_BUCKET)
      for (let i = 0; i < CHAIN; i++)
        put(parts, at(i), new Tuple([new Tuple([i, fakeBlock]), at((i + 1) % CHAIN)]))
      const tree = await made(parts, LOBTree.CLASS_NAME, new Tuple([new Tuple([at(0), 1, at(1)]), at(0)]))
      await oddFile(parts, tree)
    },
  },
  {
    name: 'a file whose tree of blocks is very deep',
    named: /^\/odd(\[| ).*deeper than 32/m,
    async make(parts) {
      const nodes = await parts.connection.newOids(DEPTH)
      const at = (i: number): Ref => new Ref(oid(nodes + i), LOBTree.CLASS_NAME)
      for (let i = 0; i < DEPTH - 1; i++) put(parts, at(i), new Tuple([new Tuple([at(i + 1)]), loBucket]))
      put(parts, at(DEPTH - 1), null)
      await oddFile(parts, at(0))
    },
  },
  {
    name: 'a file whose tree of blocks has 2^30 ways to its end',
    named: /^\/odd(\[| ).*(twice|deep)/m,
    async make(parts) {
      const nodes = await parts.connection.newOids(30)
      const at = (i: number): Ref => new Ref(oid(nodes + i), LOBTree.CLASS_NAME)
      for (let i = 0; i < 29; i++)
        put(parts, at(i), new Tuple([new Tuple([at(i + 1), 2 ** (30 - i), at(i + 1)]), loBucket]))
      const bucket = await made(parts, LO_BUCKET, new Tuple([new Tuple([0, fakeBlock])]))
      put(parts, at(29), new Tuple([new Tuple([bucket]), bucket]))
      await oddFile(parts, at(0))
    },
  },
  {
    name: 'a directory whose tree of entries has 2^30 ways to its end',
    named: /^\/a: entries cannot be read.*(twice|deep)/m,
    async make(parts) {
      const tree = await entriesOf(parts, await child(parts, 'a'))
      const nodes = await parts.connection.newOids(30)
      const at = (i: number): Ref => new Ref(oid(nodes + i), OOBTree.CLASS_NAME)
      for (let i = 0; i < 29; i++)
        put(parts, at(i), new Tuple([new Tuple([at(i + 1), new ByteString(`m${i}`), at(i + 1)]), bucketRef]))
      put(parts, at(29), null)
      await overwrite(parts, tree, new Tuple([new Tuple([at(0)]), bucketRef]))
    },
  },
  {
    name: 'a file of short blocks that ends within one',
    named: /^usage: /m,
    async make(parts) {
      const { head, body, tail } = encodeData(ZBLK0, Buffer.alloc(512, 7))
      const block = new Ref(await parts.connection.newOids(1), ZBLK0)
      parts.connection.putRecord(block.oid, ZBLK0, { head, body: [body], tail }, TID_NONE)
      const entries = new Tuple([new Tuple([new Tuple([new Tuple([1, block])])])])
      await oddFile(parts, await made(parts, LOBTree.CLASS_NAME, entries), 512, 700n)
    },
  },
  {
    name: 'a file whose data is another thing',
    named: /^\/odd/m,
    async make(parts) {
      const file = await Inode.create(parts.connection, FILE)
      file.size = 1n << 50n
      file.data = parts.root.ref
      await Directory.of(parts.connection, parts.root).set('odd', file)
    },
  },
  {
    name: 'an orphan that is the root directory',
    named: /^(superblock|\/|\(deleted|usage|structure)/m,
    async make({ superblock, root }) {
      const orphans = await superblock.orphans()
      await orphans.set(root.oid, root.ref)
      await orphans.set(5, new ByteString('x'))
      await orphans.set(6, new Ref(oid(777_777), PersistentMapping.CLASS_NAME))
    },
  },
]

const FILE = { mode: 0o100644, uid: 0, gid: 0, nlink: 1, timeNs: 1n }
const LO_BUCKET = 'BTrees.LOBTree.LOBucket'
const CHAIN = 3000
const DEPTH = 3000
const loBucket = new Ref(oid(2), LO_BUCKET)
const fakeBlock = new Ref(oid(3), ZBLK0)

/** Stores a record of any class, with an oid of its own. */
async function made(parts: HostileParts, className: string, state: PickleValue): Promise<Ref> {
  const ref = new Ref(await parts.connection.newOids(1), className)
  put(parts, ref, state)
  return ref
}

function put({ connection }: HostileParts, { oid, className }: Ref, state: PickleValue): void {
  connection.putRecord(oid, className, { head: encodeRecord(className, state) }, TID_NONE)
}

/** A file /odd with that tree of blocks. */
async function oddFile(parts: HostileParts, blktab: Ref, blksize = 2 << 20, size = 1n << 40n): Promise<void> {
  const data = await made(parts, ZBigFile.CLASS_NAME, new Tuple([blksize, blktab]))
  const file = await Inode.create(parts.connection, FILE)
  file.size = size
  file.data = data
  await Directory.of(parts.connection, parts.root).set('odd', file)
}

const bucketRef = new Ref(oid(2), 'BTrees.OOBTree.OOBucket')

async function child({ connection, root }: HostileParts, name: string): Promise<Inode> {
  const found = await Directory.of(connection, root).get(name)
  if (found === undefined) throw new TypeError(`no ${name}`)
  const inode = Inode.at(connection, found)
  await inode.activate()
  return inode
}

async function entriesOf({ connection }: HostileParts, directory: Inode): Promise<OOBTree> {
  const ref = directory.entries
  const tree = ref === undefined ? undefined : connection.resolve(ref)
  if (!(tree instanceof OOBTree)) throw new TypeError('no tree of entries')
  await tree.activate()
  return tree
}

/** Stores a state that no object of the class would have. */
async function overwrite(
  { connection }: HostileParts,
  object: Persistent,
  state: PickleValue,
): Promise<void> {
  const head = encodeRecord(object.className, state)
  const [base] = await connection.records.revisions(object.oid)
  if (base === undefined) throw new TypeError('not stored')
  connection.putRecord(object.oid, object.className, { head }, base)
}

/** Makes `depth` directories in one another below the root directory, without FUSE. */
export async function makeDeepDirectories(path: string, depth: number): Promise<void> {
  await makeSmallDatabase(path, true)
  const store = await openDatabase(path)
  try {
    const connection = await Connection.open(store, { cacheSizeBytes: 16 << 20 })
    const superblock = await Superblock.open(connection)
    const root = Inode.at(connection, await superblock.rootOid())
    await root.activate()
    const { bytes, inodes } = await superblock.usage()
    let parent = root
    for (let level = 0; level < depth; level++) {
      const made = await Inode.create(connection, { mode: 0o040755, uid: 0, gid: 0, nlink: 2, timeNs: 1n })
      await Directory.create(connection, made, parent)
      await Directory.of(connection, parent).set('d', made)
      made.named(parent.ref, 'd')
      await parent.activate()
      parent.nlink += 1
      parent = made
    }
    parent.nlink = 2
    await superblock.setUsage({ bytes, inodes: inodes + depth })
    await connection.prepare()
    await connection.commit({ description: 'a deep tree' })
  } finally {
    await store.close()
  }
}
