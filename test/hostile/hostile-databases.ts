/**
 * Databases as their author would make them to stop or mislead a reader: sound to the store (checksums, counts, references),
 * odd in what the objects say. Each case has a name, what makes it, and what `fsck` says of it.
 */
import { OOBTree } from '../../core/btree/tree.ts'
import { Connection } from '../../core/objects/connection.ts'
import type { Persistent } from '../../core/objects/persistent.ts'
import { PersistentMapping } from '../../core/objects/persistent-mapping.ts'
import { ByteString, Ref, Tuple, type PickleValue } from '../../core/objects/pickle/value.ts'
import { encodeRecord } from '../../core/objects/record.ts'
import { Directory } from '../../core/tree/directory.ts'
import { Inode } from '../../core/tree/inode.ts'
import { Superblock } from '../../core/tree/superblock.ts'
import { oid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import { makeSmallDatabase } from '../core/check/small-database.ts'

export interface HostileCase {
  readonly name: string
  readonly make: (parts: HostileParts) => Promise<void>
  /** What a line of fsck's report matches. */
  readonly named: RegExp
}

/** A small filesystem, about to be spoiled. */
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
    name: 'tags that are not transactions',
    named: /^superblock: the tag 'odd' is not a transaction/m,
    async make({ superblock }) {
      const tags = await superblock.tags()
      await tags.set(new ByteString('odd'), -5n)
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
]

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
