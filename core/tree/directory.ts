/** A directory's entries: an OOBTree from name (bytes) to inode, in the order of the names' bytes. */
import { chain, type Awaitable } from '../../store/awaitable.ts'
import type { Oid } from '../../store/ids.ts'
import type { ObjectKey } from '../btree/kind.ts'
import { OOBTree } from '../btree/tree.ts'
import type { Connection } from '../objects/connection.ts'
import type { Inode } from './inode.ts'
import { ByteString, Ref, type PickleValue } from '../objects/pickle/value.ts'

/** An entry's name has one character per byte. */
export interface NamedInode {
  readonly name: string
  readonly oid: Oid
}

export class Directory {
  readonly #tree: OOBTree

  private constructor(tree: OOBTree) {
    this.#tree = tree
  }

  /** The entries of a directory's inode, which is activated. @throws CorruptRecordError if it has none. */
  static of(connection: Connection, inode: Inode): Directory {
    const ref = inode.entries
    const tree = ref === undefined ? undefined : connection.resolve(ref)
    if (tree instanceof OOBTree) return new Directory(tree)
    throw connection.corrupt(inode.oid, 'a directory has no tree of entries')
  }

  /** Creates the empty entries of a new directory's inode. @throws ReadOnlyError. */
  static async create(connection: Connection, inode: Inode, parent: Inode): Promise<Directory> {
    const tree = await connection.create(OOBTree)
    inode.entries = tree.ref
    inode.parent = parent.ref
    return new Directory(tree)
  }

  /** The inode of a name; undefined if the name does not exist. */
  get(name: string): Awaitable<Oid | undefined> {
    return chain(this.#tree.get(new ByteString(name)), value =>
      value === undefined ? undefined : this.#refOf(value).oid,
    )
  }

  /** Adds or replaces a name. */
  async set(name: string, inode: Inode): Promise<void> {
    await this.#tree.set(new ByteString(name), inode.ref)
  }

  /** Removes a name. */
  async delete(name: string): Promise<void> {
    await this.#tree.delete(new ByteString(name))
  }

  async isEmpty(): Promise<boolean> {
    return (await this.#tree.minKey()) === undefined
  }

  /**
   * At most `limit` entries after a name (from the start if undefined); empty at the end. Leaves out invalid entries (no
   * file can have the name, or the value is not a reference), so that one of them does not hide the others.
   */
  async after(name: string | undefined, limit: number): Promise<readonly NamedInode[]> {
    const found: NamedInode[] = []
    let lo: ObjectKey | undefined = name === undefined ? undefined : new ByteString(name)
    while (found.length < limit) {
      const { keys, values } = await this.#tree.batch({ lo, after: lo !== undefined }, limit - found.length)
      if (keys.length === 0) break
      for (const [i, key] of keys.entries()) {
        const value = values[i]
        if (key instanceof ByteString && isEntryName(key.latin1) && value instanceof Ref)
          found.push({ name: key.latin1, oid: value.oid })
        lo = key
      }
    }
    return found
  }

  #refOf(value: PickleValue | undefined): Ref {
    if (value instanceof Ref) return value
    throw this.#tree.corrupt('an entry of a directory is not a reference')
  }
}

/** Whether a file can have a name, which has one character per byte. */
export const isEntryName = (name: string): boolean =>
  name !== '' && name.length <= 255 && name !== '.' && name !== '..' && !/[/\0]/.test(name)
