/**
 * The tree of one moment, read by path and by inode, without a mount.
 *
 * Paths are relative to the root, without a leading slash, one character per byte; the root's is ''.
 */
import { ifReadable } from '../big-file/if-readable.ts'
import { growingCache } from '../growing-cache.ts'
import { Connection } from '../objects/connection.ts'
import { Directory, type NamedInode } from '../tree/directory.ts'
import { isDirectory, Inode } from '../tree/inode.ts'
import { PathResolver, type Place, type ShownPath, ROOT_PATH } from '../tree/shown-path.ts'
import { Superblock } from '../tree/superblock.ts'
import { Turns } from '../turns.ts'
import { type DamageError, isDamageError, ObjectNotFoundError } from '../../store/errors.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { openScratch, ScratchNames } from '../../store/scratch.ts'
import type { Store } from '../../store/store.ts'

const CACHE_BYTES = 8 << 20
/** Directories read together by a search. */
const BATCH = 256
/** Maximum number of directory places in memory. */
const PLACES_MAX = 16_384
/** Of all views: a loop over transactions opens one for each. */
const turns = new Turns()

interface Unrecorded {
  readonly db: ReturnType<typeof openScratch>
  readonly names: ScratchNames
}

/** Receives what a walk cannot read: an entry, or the rest of a directory's entries. */
export type OnDamage = (path: ShownPath, error: DamageError) => void

/** An entry of a directory. */
export interface WalkedEntry {
  readonly directory: Oid
  readonly name: string
  readonly path: ShownPath
  readonly inode: Inode
}

export class MomentView {
  readonly connection: Connection
  readonly superblock: Superblock
  readonly rootOid: Oid
  readonly #places = growingCache<Oid, Place>(PLACES_MAX)
  readonly #resolver = new PathResolver(oid => (oid === this.rootOid ? ROOT_PATH : this.placeOf(oid)))
  /** Places that inodes do not record, once they were looked for. */
  #unrecorded: Promise<Unrecorded> | undefined

  private constructor(connection: Connection, superblock: Superblock, rootOid: Oid) {
    this.connection = connection
    this.superblock = superblock
    this.rootOid = rootOid
  }

  /** @throws CannotOpenError if there was no filesystem yet. */
  static async open(store: Store, at: Tid, cacheSizeBytes: number = CACHE_BYTES): Promise<MomentView> {
    return await MomentView.of(await Connection.open(store, { at, cacheSizeBytes }))
  }

  /** The tree that a connection shows. @throws as {@link MomentView.open}. */
  static async of(connection: Connection): Promise<MomentView> {
    const superblock = await Superblock.open(connection)
    return new MomentView(connection, superblock, await superblock.rootOid())
  }

  get at(): Tid {
    return this.connection.at
  }

  /** An inode, activated; undefined if there was none of that oid. */
  async inode(oid: Oid): Promise<Inode | undefined> {
    await turns.pass()
    const inode = Inode.at(this.connection, oid)
    try {
      await inode.activate()
      return inode
    } catch (error) {
      if (error instanceof ObjectNotFoundError && error.oid === oid) return undefined
      throw error
    }
  }

  /** The existing ones of these inodes, loaded together and activated. Use them before the next turn of the event loop. */
  async inodes(oids: readonly Oid[]): Promise<readonly Inode[]> {
    await turns.pass()
    const inodes = oids.map(oid => Inode.at(this.connection, oid))
    try {
      await this.connection.loadMany(inodes.map(({ object }) => object))
      return inodes
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error
    }
    const found: Inode[] = []
    for (const oid of oids) {
      const inode = await this.inode(oid)
      if (inode !== undefined) found.push(inode)
    }
    for (const inode of found) await inode.activate()
    return found
  }

  /** The inode of a path; undefined if there is none. Symbolic links are not followed. */
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
   * A path of an inode; undefined if it had none. It follows the names that inodes record; if such a name does not lead
   * to the inode (of several names the recorded one was removed), it is looked up among all names of the tree.
   */
  pathOf(oid: Oid): Promise<ShownPath | undefined> {
    return this.#resolver.pathOf(oid)
  }

  /** Whether an inode is a directory or lies in it, at any depth. */
  isWithin(oid: Oid, top: Oid): Promise<boolean> {
    return this.#resolver.isWithin(oid, top)
  }

  /** Where an inode has its name; undefined if it has none, and for the root. */
  async placeOf(oid: Oid): Promise<Place | undefined> {
    if (oid === this.rootOid) return undefined
    const known = this.#places.get(oid)
    if (known !== undefined) return known
    const inode = await this.inode(oid)
    if (inode === undefined || inode.nlink === 0) return undefined
    return (await this.#recordedPlace(inode)) ?? (await this.#unrecordedPlaceOf(oid))
  }

  /** As {@link MomentView.placeOf}, but undefined if the name that the inode records is not its own any more: without a search. */
  async recordedPlaceOf(oid: Oid): Promise<Place | undefined> {
    const inode = oid === this.rootOid ? undefined : await this.inode(oid)
    return inode === undefined || inode.nlink === 0 ? undefined : await this.#recordedPlace(inode)
  }

  async #recordedPlace({ oid, name, parent }: Inode): Promise<Place | undefined> {
    if (name === undefined || parent === undefined || (await this.child(parent.oid, name)) !== oid)
      return undefined
    const place = { parent: parent.oid, name }
    this.#places.set(oid, place)
    return place
  }

  /** The inode of a name; undefined if there is no such directory, or no such name in it. */
  async child(parent: Oid, name: string): Promise<Oid | undefined> {
    const directory = await this.inode(parent)
    if (directory === undefined || !isDirectory(directory)) return undefined
    return await Directory.of(this.connection, directory).get(name)
  }

  /** Looks through the whole tree, once, for names that their inodes do not record. */
  async #unrecordedPlaceOf(oid: Oid): Promise<Place | undefined> {
    this.#unrecorded ??= this.#findUnrecorded()
    const { db, names } = await this.#unrecorded
    const row = db
      .prepare<[number], { parent: Oid; name: Buffer }>('SELECT parent, name FROM place WHERE oid = ?')
      .get(oid)
    return row && { parent: row.parent, name: names.open(row.name) }
  }

  async #findUnrecorded(): Promise<Unrecorded> {
    const names = new ScratchNames()
    const db = openScratch(
      'CREATE TABLE place (oid INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL)',
    )
    const add = db.prepare<[number, number, Buffer]>('INSERT OR IGNORE INTO place VALUES (?, ?, ?)')
    for await (const { directory, name, inode } of this.walk())
      if (inode.name !== name || inode.parent?.oid !== directory)
        add.run(inode.oid, directory, names.seal(name))
    return { db, names }
  }

  /**
   * Every entry below a directory (the root, if absent), a directory before its content. A directory that is in two places,
   * or in itself, is damage: it is entered only once, so that the walk ends.
   * @param onDamage if given, the walk continues after damage.
   * @throws DamageError without `onDamage`.
   */
  async *walk(from: Oid = this.rootOid, path = ROOT_PATH, onDamage?: OnDamage): AsyncGenerator<WalkedEntry> {
    const waiting = [{ oid: from, path }]
    const entered = new PagedBitmap()
    entered.add(from)
    try {
      yield* this.#walkFrom(waiting, entered, onDamage)
    } finally {
      entered.close()
    }
  }

  async *#walkFrom(
    waiting: { readonly oid: Oid; readonly path: ShownPath }[],
    entered: PagedBitmap,
    onDamage: OnDamage | undefined,
  ): AsyncGenerator<WalkedEntry> {
    const attempt = async <T>(path: ShownPath, read: () => Promise<T>): Promise<T | undefined> => {
      try {
        return await read()
      } catch (error) {
        if (onDamage === undefined || !isDamageError(error)) throw error
        onDamage(path, error)
        return undefined
      }
    }
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { oid, path } = next
      for (let after: string | undefined; ;) {
        const entries = await attempt(path, () => this.#entries(oid, after))
        if (entries === undefined || entries.length === 0) break
        for (const { name, oid: child } of entries) {
          after = name
          const childPath = path.child(name)
          const found = await attempt(childPath, () => this.#existing(child))
          if (found === undefined) continue
          const { inode, isBranch } = found
          yield { directory: oid, name, path: childPath, inode }
          if (isBranch && entered.add(child)) waiting.push({ oid: child, path: childPath })
        }
      }
    }
  }

  /** The next entries of a directory, whose inodes are loaded together; none if it is not a directory. */
  async #entries(oid: Oid, after: string | undefined): Promise<readonly NamedInode[]> {
    const directory = await this.inode(oid)
    if (directory === undefined || !isDirectory(directory)) return []
    const entries = await Directory.of(this.connection, directory).after(after, BATCH)
    await turns.pass()
    const inodes = entries.map(entry => Inode.at(this.connection, entry.oid).object)
    // What is damaged is reported when it is used.
    await ifReadable(() => this.connection.loadMany(inodes))
    return entries
  }

  /** @throws DamageError */
  async #existing(oid: Oid): Promise<{ readonly inode: Inode; readonly isBranch: boolean }> {
    const inode = await this.inode(oid)
    if (inode === undefined) throw new ObjectNotFoundError(oid, this.at)
    return { inode, isBranch: isDirectory(inode) }
  }
}

/** A path's names. */
export const partsOf = (path: string): readonly string[] =>
  path.split('/').filter(part => part !== '' && part !== '.')
