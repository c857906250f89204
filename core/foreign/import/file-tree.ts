/** The directories and inodes of imported files: names are added and removed as in the source. */
import { processOwner } from '../../process-owner.ts'
import type { Connection } from '../../objects/connection.ts'
import { Directory, type NamedInode } from '../../tree/directory.ts'
import { Inode } from '../../tree/inode.ts'
import { Ref } from '../../objects/pickle/value.ts'
import { Superblock } from '../../tree/superblock.ts'
import { ZBigFile } from '../../zblk/zbigfile.ts'
import { TID_NONE, type Oid } from '../../../store/ids.ts'
import { ImportError } from './import-error.ts'

const DIRECTORY_MODE = 0o040755
const FILE_MODE = 0o100644

/** The attributes of an imported file at a moment. */
export interface FileState {
  readonly size: bigint
  readonly stored: number
  /** The time when its bytes changed; absent if they did not. */
  readonly timeNs?: bigint
}

export class FileTree {
  readonly #connection: Connection
  readonly #superblock: Superblock
  readonly #owner = processOwner()

  private constructor(connection: Connection, superblock: Superblock) {
    this.#connection = connection
    this.#superblock = superblock
  }

  /** Opens the tree of our database; creates one if the database is empty. */
  static async open(connection: Connection, timeNs: bigint): Promise<FileTree> {
    const owner = processOwner()
    const superblock =
      connection.at === TID_NONE
        ? await Superblock.create(connection, owner, timeNs)
        : await Superblock.open(connection)
    return new FileTree(connection, superblock)
  }

  /** @throws ImportError if the name exists already. */
  async assertFree(path: string): Promise<void> {
    let at = await this.#superblock.rootOid()
    for (const name of names(path)) {
      const inode = await this.#activated(at)
      if (inode.entries === undefined) break
      const found = await Directory.of(this.#connection, inode).get(name)
      if (found === undefined) return
      at = found
    }
    throw taken(path)
  }

  /** Creates an inode for one of our files, without a name yet. */
  async createFile(file: Oid, timeNs: bigint): Promise<Oid> {
    const inode = await Inode.create(this.#connection, { mode: FILE_MODE, ...this.#owner, nlink: 0, timeNs })
    inode.data = new Ref(file, ZBigFile.CLASS_NAME)
    return inode.oid
  }

  /**
   * Gives an inode a name, in directories made as needed. A directory of that name without files is removed: the source had files there
   * at an earlier moment. @throws ImportError if a parent is not a directory, or the name exists.
   */
  async link(path: string, file: Oid, timeNs: bigint): Promise<void> {
    const { directory, name } = await this.#makeParent(path, timeNs)
    const found = await this.#entries(directory).then(entries => entries.get(name))
    if (found !== undefined) {
      if (await this.#hasFiles(found)) throw taken(path)
      await this.#removeDirectory(directory, name, found)
    }
    const inode = await this.#activated(file)
    inode.nlink += 1
    // It may have lost its last name in the same transaction.
    if (inode.nlink === 1) await this.#count(inode.stored, 1)
    await (await this.#entries(directory)).set(name, await this.#activated(file))
    await this.#setTimes(directory, timeNs)
  }

  /** Removes a name; resolves to whether the inode has others. */
  async unlink(path: string, file: Oid, timeNs: bigint): Promise<boolean> {
    const { directory, name } = await this.#makeParent(path, timeNs)
    await (await this.#entries(directory)).delete(name)
    await this.#setTimes(directory, timeNs)
    const inode = await this.#activated(file)
    inode.nlink -= 1
    if (inode.nlink > 0) return true
    await this.#count(-(await this.#activated(file)).stored, -1)
    return false
  }

  /** Whether an inode has a name. */
  async isNamed(file: Oid): Promise<boolean> {
    return (await this.#activated(file)).nlink > 0
  }

  /** Sets the attributes of a file. */
  async update(file: Oid, { size, stored, timeNs }: FileState): Promise<void> {
    const inode = await this.#activated(file)
    const growth = stored - inode.stored
    if (timeNs === undefined && growth === 0) return
    inode.size = size
    inode.stored = stored
    if (timeNs !== undefined) {
      inode.setTime('mtime', timeNs)
      inode.setTime('ctime', timeNs)
    }
    await this.#count(growth, 0)
  }

  async #makeParent(
    path: string,
    timeNs: bigint,
  ): Promise<{ readonly directory: Oid; readonly name: string }> {
    const all = names(path)
    const name = all.at(-1) ?? ''
    let directory = await this.#superblock.rootOid()
    for (const step of all.slice(0, -1)) directory = await this.#enter(directory, step, timeNs, path)
    return { directory, name }
  }

  async #enter(parent: Oid, name: string, timeNs: bigint, path: string): Promise<Oid> {
    const found = await Directory.of(this.#connection, await this.#activated(parent)).get(name)
    if (found !== undefined) {
      if ((await this.#activated(found)).entries !== undefined) return found
      throw new ImportError(`/${display(path)} cannot be created: ${display(name)} is not a directory`, {
        code: 'import-exists',
      })
    }
    const from = await this.#activated(parent)
    const inode = await Inode.create(this.#connection, {
      mode: DIRECTORY_MODE,
      ...this.#owner,
      nlink: 2,
      timeNs,
    })
    await Directory.create(this.#connection, inode, from)
    await from.activate()
    from.nlink += 1
    await Directory.of(this.#connection, from).set(name, inode)
    await this.#setTimes(parent, timeNs)
    await this.#count(0, 1)
    return inode.oid
  }

  /** Whether an inode is not a directory, or one with such an inode at any depth. */
  async #hasFiles(oid: Oid): Promise<boolean> {
    if ((await this.#activated(oid)).entries === undefined) return true
    for await (const entry of this.#children(oid)) if (await this.#hasFiles(entry.oid)) return true
    return false
  }

  /** Removes a directory with the directories in it. */
  async #removeDirectory(parent: Oid, name: string, oid: Oid): Promise<void> {
    for await (const entry of this.#children(oid)) await this.#removeDirectory(oid, entry.name, entry.oid)
    await (await this.#entries(parent)).delete(name)
    ;(await this.#activated(parent)).nlink -= 1
    ;(await this.#activated(oid)).nlink = 0
    await this.#count(0, -1)
  }

  async *#children(directory: Oid): AsyncGenerator<NamedInode> {
    for (let after: string | undefined; ;) {
      const [entry] = await (await this.#entries(directory)).after(after, 1)
      if (entry === undefined) return
      yield entry
      after = entry.name
    }
  }

  async #entries(directory: Oid): Promise<Directory> {
    return Directory.of(this.#connection, await this.#activated(directory))
  }

  async #setTimes(directory: Oid, timeNs: bigint): Promise<void> {
    const inode = await this.#activated(directory)
    inode.setTime('mtime', timeNs)
    inode.setTime('ctime', timeNs)
  }

  async #activated(oid: Oid): Promise<Inode> {
    const inode = Inode.at(this.#connection, oid)
    await inode.activate()
    return inode
  }

  async #count(bytes: number, inodes: number): Promise<void> {
    if (bytes === 0 && inodes === 0) return
    const usage = await this.#superblock.usage()
    await this.#superblock.setUsage({ bytes: usage.bytes + bytes, inodes: usage.inodes + inodes })
  }
}

const taken = (path: string): ImportError =>
  new ImportError(`/${display(path)} exists in the database already`, { code: 'import-exists' })

const names = (path: string): string[] => path.split('/').filter(name => name !== '')

/** A path for messages. */
const display = (path: string): string => Buffer.from(path, 'latin1').toString('utf8')
