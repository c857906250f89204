/**
 * The entry point of a filesystem: `root mapping['zblkfs']`, a PersistentMapping.
 *
 * | key     | value                                                                            |
 * |---------|----------------------------------------------------------------------------------|
 * | version | 1                                                                                |
 * | root    | ref inode: the root directory                                                    |
 * | orphans | ref LOBTree: inode number -> ref inode: unlinked, but still in use               |
 * | tags    | ref OOBTree: name (bytes) -> tid as int, negated if the tag is held              |
 * | bytes   | int: the total of all inodes' `stored`                                           |
 * | inodes  | int: their number, including orphans                                             |
 */
import { CannotOpenError, CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'
import { tid, TID_MAX, type Oid, type Tid } from '../../store/ids.ts'
import { LOBTree, OOBTree } from '../btree/tree.ts'
import type { Connection } from '../objects/connection.ts'
import { Directory } from './directory.ts'
import { isDirectory, Inode } from './inode.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { ByteString, Ref, type PickleValue } from '../objects/pickle/value.ts'

const KEY = 'zblkfs'
const VERSION = 1
const ROOT_MODE = 0o040755

/** The size of a filesystem. */
export interface Usage {
  /** Bytes stored for the present state of all files. */
  readonly bytes: number
  readonly inodes: number
}

export interface StoredTag {
  /** One character per byte. */
  readonly name: string
  readonly tid: Tid
  readonly isHeld: boolean
}

export class Superblock {
  readonly #connection: Connection
  readonly #mapping: PersistentMapping

  private constructor(connection: Connection, mapping: PersistentMapping) {
    this.#connection = connection
    this.#mapping = mapping
  }

  /** The superblock of a view. @throws CannotOpenError if it has no filesystem, or a newer one. */
  static async open(connection: Connection): Promise<Superblock> {
    const ref = (await connection.root()).get(KEY)
    const { name } = connection
    if (!(ref instanceof Ref))
      throw new CannotOpenError(`${name} has no zblkfs filesystem in it`, { code: 'no-file-system' })
    const mapping = connection.resolve(ref)
    if (!(mapping instanceof PersistentMapping))
      throw connection.corrupt(ref.oid, 'the superblock is not a mapping')
    await mapping.activate()
    const version = mapping.get('version')
    if (version !== VERSION)
      throw new CannotOpenError(
        `${name} has a filesystem of another version than ${VERSION}: use the zblkfs that created it`,
      )
    return new Superblock(connection, mapping)
  }

  /** Creates a filesystem with an empty root directory in an empty database, without a commit. */
  static async create(
    connection: Connection,
    owner: { uid: number; gid: number },
    timeNs: bigint,
  ): Promise<Superblock> {
    const mapping = await connection.create(PersistentMapping)
    const root = await Inode.create(connection, { mode: ROOT_MODE, ...owner, nlink: 2, timeNs })
    await Directory.create(connection, root, root)
    mapping.set('version', VERSION)
    mapping.set('root', root.ref)
    mapping.set('orphans', (await connection.create(LOBTree)).ref)
    mapping.set('tags', (await connection.create(OOBTree)).ref)
    mapping.set('bytes', 0)
    mapping.set('inodes', 1)
    connection.createRoot().set(KEY, mapping.ref)
    return new Superblock(connection, mapping)
  }

  /** The root directory. @throws CannotOpenError if it is not one that can be read: every operation would fail. */
  async rootOid(): Promise<Oid> {
    const ref = await this.rootRef()
    let isUsable = false
    let cause: unknown
    try {
      const root = Inode.at(this.#connection, ref.oid)
      await root.activate()
      isUsable = isDirectory(root)
    } catch (error) {
      if (!(error instanceof CorruptRecordError) && !(error instanceof ObjectNotFoundError)) throw error
      cause = error
    }
    if (isUsable) return ref.oid
    const reason = cause instanceof Error ? `cannot be read: ${cause.message}` : 'is not a directory'
    throw new CannotOpenError(`the root of ${this.#connection.name} ${reason}`, { code: 'damaged', cause })
  }

  /** The reference to the root directory. */
  async rootRef(): Promise<Ref> {
    await this.#mapping.activate()
    return this.#ref('root')
  }

  /** Makes another directory the root. */
  async setRoot(root: Oid): Promise<void> {
    await this.#mapping.activate()
    this.#mapping.set('root', new Ref(root, PersistentMapping.CLASS_NAME))
  }

  async usage(): Promise<Usage> {
    await this.#mapping.activate()
    return { bytes: this.#number('bytes'), inodes: this.#number('inodes') }
  }

  async setUsage({ bytes, inodes }: Usage): Promise<void> {
    await this.#mapping.activate()
    this.#mapping.set('bytes', bytes)
    this.#mapping.set('inodes', inodes)
  }

  /** From inode number to inode: the unlinked ones that are still in use. */
  async orphans(): Promise<LOBTree> {
    await this.#mapping.activate()
    const tree = this.#connection.resolve(this.#ref('orphans'))
    if (tree instanceof LOBTree) return tree
    throw this.#mapping.corrupt('the orphans are not in a tree')
  }

  /** From name to transaction. */
  async tags(): Promise<OOBTree> {
    await this.#mapping.activate()
    const tree = this.#connection.resolve(this.#ref('tags'))
    if (tree instanceof OOBTree) return tree
    throw this.#mapping.corrupt('the tags are not in a tree')
  }

  /** Marks the superblock as changed, for a transaction that has only a message. */
  async markChanged(): Promise<void> {
    await this.#mapping.activate()
    this.#mapping.set('version', VERSION)
  }

  /** The transaction of a tag; undefined if there is no such tag. */
  async tag(name: string): Promise<Tid | undefined> {
    const value = await (await this.tags()).get(new ByteString(name))
    return value === undefined ? undefined : this.#tagged(name, value)
  }

  /** Whether a tag is held: it exists, and can be neither moved nor deleted. */
  async isHeld(name: string): Promise<boolean> {
    return isHeldValue(await (await this.tags()).get(new ByteString(name)))
  }

  /** Sets a tag. */
  async setTag(name: string, at: Tid, isHeld = false): Promise<void> {
    await (await this.tags()).set(new ByteString(name), isHeld ? 0n - at : at)
  }

  /** Deletes a tag. Resolves to whether it existed. */
  async deleteTag(name: string): Promise<boolean> {
    return await (await this.tags()).delete(new ByteString(name))
  }

  /** All tags, in the order of their names. @throws CorruptRecordError for one that is not a transaction. */
  async *allTags(): AsyncGenerator<StoredTag> {
    for await (const [key, value] of (await this.tags()).range())
      if (key instanceof ByteString)
        yield { name: key.latin1, tid: this.#tagged(key.latin1, value), isHeld: isHeldValue(value) }
  }

  /** The names of tags that are not transactions. */
  async *oddTags(): AsyncGenerator<ByteString> {
    for await (const [key, value] of (await this.tags()).range())
      if (key instanceof ByteString && tidOf(value) === undefined) yield key
  }

  #tagged(name: string, value: PickleValue): Tid {
    const found = tidOf(value)
    if (found === undefined) throw this.#mapping.corrupt(`the tag '${name}' is not a transaction`)
    return found
  }

  #ref(key: string): Ref {
    const value = this.#mapping.get(key)
    if (value instanceof Ref) return value
    throw this.#mapping.corrupt(`the superblock's ${key} is not a reference`)
  }

  #number(key: string): number {
    const value = this.#mapping.get(key)
    if (typeof value === 'number') return value
    throw this.#mapping.corrupt(`the superblock's ${key} is not an integer`)
  }
}

function tidOf(value: PickleValue): Tid | undefined {
  if (typeof value !== 'bigint' && !(typeof value === 'number' && Number.isSafeInteger(value)))
    return undefined
  const number = BigInt(value)
  const moment = number < 0n ? -number : number
  return moment > TID_MAX ? undefined : tid(moment)
}

const isHeldValue = (value: PickleValue | undefined): boolean =>
  (typeof value === 'number' || typeof value === 'bigint') && value < 0
