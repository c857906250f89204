/**
 * The tree as of one moment, to be looked into by path and by inode: what the commands read, without a mount.
 *
 * Paths are relative to the root, without a leading slash, one character per byte; the root's is ''.
 */
import { constants } from 'node:fs'
import { Connection } from '../objects/connection.ts'
import { Directory } from '../tree/directory.ts'
import { Inode } from '../tree/inode.ts'
import { Superblock } from '../tree/superblock.ts'
import { ObjectNotFoundError } from '../../store/errors.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'

const { S_IFMT, S_IFDIR } = constants
const CACHE_BYTES = 8 << 20
/** Directories read at once by a search. */
const BATCH = 256
const DEPTH_MAX = 4096

export class MomentView {
  readonly connection: Connection
  readonly superblock: Superblock
  readonly rootOid: Oid

  private constructor(connection: Connection, superblock: Superblock, rootOid: Oid) {
    this.connection = connection
    this.superblock = superblock
    this.rootOid = rootOid
  }

  /** @throws CannotOpenError where there was no filesystem yet. */
  static async open(store: Store, at: Tid, cacheSizeBytes: number = CACHE_BYTES): Promise<MomentView> {
    return await MomentView.of(await Connection.open(store, { at, cacheSizeBytes }))
  }

  /** What a connection sees. @throws as {@link MomentView.open}. */
  static async of(connection: Connection): Promise<MomentView> {
    const superblock = await Superblock.open(connection)
    return new MomentView(connection, superblock, await superblock.rootOid())
  }

  get at(): Tid {
    return this.connection.at
  }

  /** An inode, activated; undefined where there was none of that oid. */
  async inode(oid: Oid): Promise<Inode | undefined> {
    const inode = Inode.at(this.connection, oid)
    try {
      await inode.activate()
      return inode
    } catch (error) {
      if (error instanceof ObjectNotFoundError && error.oid === oid) return undefined
      throw error
    }
  }

  /** The inode of a path; undefined where nothing has it. Symbolic links are not followed. */
  async find(path: string): Promise<Inode | undefined> {
    let inode = await this.inode(this.rootOid)
    for (const name of partsOf(path)) {
      const oid =
        inode === undefined || !isDirectory(inode)
          ? undefined
          : await Directory.of(this.connection, inode).get(name)
      inode = oid === undefined ? undefined : await this.inode(oid)
    }
    return inode
  }

  /**
   * A path of an inode; undefined where it had none. By the names that inodes note; where these lead to nothing (of
   * several names the noted one was removed), by a search through the whole tree.
   */
  async pathOf(oid: Oid): Promise<string | undefined> {
    const chain = await this.chainOf(oid)
    return chain?.map(({ name }) => name).join('/')
  }

  /** The names that lead to an inode, from the root's child down to itself, each with its inode. */
  async chainOf(oid: Oid): Promise<readonly { readonly name: string; readonly oid: Oid }[] | undefined> {
    const chain: { name: string; oid: Oid }[] = []
    for (let at = oid; at !== this.rootOid && chain.length < DEPTH_MAX;) {
      const found = await this.#entryOf(at)
      if (found === undefined) return undefined
      chain.unshift({ name: found.name, oid: at })
      at = found.parent
    }
    return chain
  }

  async #entryOf(oid: Oid): Promise<{ readonly parent: Oid; readonly name: string } | undefined> {
    const inode = await this.inode(oid)
    if (inode === undefined || inode.nlink === 0) return undefined
    const { name, parent } = inode
    if (name !== undefined && parent !== undefined && (await this.#leadsTo(parent.oid, name, oid)))
      return { parent: parent.oid, name }
    return await this.#search(oid)
  }

  async #leadsTo(parent: Oid, name: string, oid: Oid): Promise<boolean> {
    const directory = await this.inode(parent)
    if (directory === undefined || !isDirectory(directory)) return false
    return (await Directory.of(this.connection, directory).get(name)) === oid
  }

  async #search(oid: Oid): Promise<{ readonly parent: Oid; readonly name: string } | undefined> {
    for await (const { directory, name, inode } of this.walk())
      if (inode.oid === oid) return { parent: directory, name }
    return undefined
  }

  /** Every entry below a directory (the root, if absent), a directory before what is in it. */
  async *walk(
    from: Oid = this.rootOid,
    path = '',
  ): AsyncGenerator<{
    readonly directory: Oid
    readonly name: string
    readonly path: string
    readonly inode: Inode
  }> {
    const waiting = [{ oid: from, path }]
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { oid, path } = next
      for (let after: string | undefined; ;) {
        const directory = await this.inode(oid)
        if (directory === undefined || !isDirectory(directory)) break
        const entries = await Directory.of(this.connection, directory).after(after, BATCH)
        if (entries.length === 0) break
        await this.connection.loadMany(entries.map(({ oid }) => Inode.at(this.connection, oid).object))
        for (const { name, oid: child } of entries) {
          after = name
          const inode = await this.inode(child)
          if (inode === undefined) throw new ObjectNotFoundError(child, this.at)
          const childPath = path === '' ? name : `${path}/${name}`
          const isBranch = isDirectory(inode)
          yield { directory: oid, name, path: childPath, inode }
          if (isBranch) waiting.push({ oid: child, path: childPath })
        }
      }
    }
  }
}

/** A path's names. */
export const partsOf = (path: string): readonly string[] =>
  path.split('/').filter(part => part !== '' && part !== '.')

const isDirectory = (inode: Inode): boolean => (inode.mode & S_IFMT) === S_IFDIR
