/**
 * Walks the tree of directories from the root down: each directory's entries and parent, each inode, each file's bytes.
 */
import type { Oid } from '../../store/ids.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { OOBTree } from '../btree/tree.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { ByteString, Ref, type PickleValue } from '../objects/pickle/value.ts'
import { isEntryName } from '../tree/directory.ts'
import { Inode, isDirectory, isRegular, isSymbolicLink } from '../tree/inode.ts'
import { isReservedName } from '../file-system/reserved-names.ts'
import type { CheckContext } from './check-context.ts'
import { FileCheck } from './file-check.ts'
import { faultOf, type Fault } from './trees.ts'

export class Walk {
  readonly #context: CheckContext
  readonly #files: FileCheck
  /** The nodes and buckets of the directories walked so far, and the objects of the files' data. */
  readonly #owned = new PagedBitmap()
  /** The number of inodes according to the superblock. */
  #expected = 0

  constructor(context: CheckContext) {
    this.#context = context
    const { connection, findings, trees, report, isRepair } = context
    const commit = (): Promise<void> => context.commit(false)
    this.#files = new FileCheck({ connection, findings, trees, report, isRepair, commit }, this.#owned)
  }

  close(): void {
    this.#owned.close()
  }

  /** Sets the total for progress reports. */
  expect(inodes: number): void {
    this.#expected = inodes
  }

  /** Walks the directories that were met but not walked yet. */
  async run(): Promise<void> {
    for (
      let directory = this.#context.inodes.nextDirectory();
      directory !== undefined;
      directory = this.#context.inodes.nextDirectory()
    ) {
      await this.#checkDirectory(directory, await this.#context.inodes.pathOf(directory))
      await this.#context.commit(false)
    }
  }

  /** Loads the inode that a reference leads to, or its last readable state. */
  async inode(ref: Ref, path: string): Promise<Inode | undefined> {
    const object = await this.#context.resolve(ref)
    if (!(object instanceof PersistentMapping)) return undefined
    if (!(await this.#context.restorable(object, 'inode', 'its inode', path))) return undefined
    const inode = Inode.at(this.#context.connection, object.oid)
    const reason = oddityOf(inode)
    if (reason === undefined) return inode
    const mended = this.#context.isRepair ? inode.mend().join(', ') : ''
    this.#context.found(
      { kind: 'inode', path, oid: object.oid, reason },
      `set to what an inode can have: ${mended}`,
    )
    return mended === '' ? undefined : inode
  }

  /** Records an inode that was met for the first time, and checks its content. */
  async meet(inode: Inode, path: string, directory: Oid | undefined, name: string): Promise<void> {
    const { oid, parent, nlink } = inode
    this.#context.progress('files', this.#context.inodes.count, this.#expected)
    if (isDirectory(inode)) {
      this.#context.inodes.enter({
        oid,
        isDirectory: true,
        parent: directory,
        name,
        stored: inode.stored,
        nlink,
      })
      if (directory === undefined || parent?.oid === directory) return
      this.#context.found(
        { kind: 'directory', path, oid, reason: 'it refers to another directory as its parent' },
        'it refers to the right one',
      )
      if (this.#context.isRepair) inode.parent = this.#context.mapping(directory).ref
      return
    }
    if (isSymbolicLink(inode) && inode.target.length === 0)
      this.#context.report({ kind: 'inode', path, oid, reason: 'a symbolic link without a target' })
    let { stored } = inode
    if (isRegular(inode)) {
      const before = stored
      stored = await this.#files.check(inode, path)
      await inode.activate()
      if (stored !== before) {
        this.#context.found(
          {
            kind: 'usage',
            path,
            oid,
            reason: `its inode records ${before} stored bytes, but it stores ${stored}`,
          },
          'corrected',
        )
        if (this.#context.isRepair) inode.stored = stored
      }
    }
    this.#context.inodes.enter({ oid, isDirectory: false, parent: directory, name, stored, nlink })
  }

  async #checkDirectory(oid: Oid, path: string): Promise<void> {
    const inode = Inode.at(this.#context.connection, oid)
    await inode.activate()
    const ref = inode.entries
    const tree = ref === undefined ? undefined : await this.#context.resolve(ref)
    if (!(tree instanceof OOBTree)) {
      this.#context.found(
        { kind: 'directory', path, oid, reason: 'it has no tree of entries' },
        'it becomes empty',
      )
      if (!this.#context.isRepair) return
      await inode.activate()
      inode.entries = (await this.#context.connection.create(OOBTree)).ref
      return
    }
    const faults: Fault[] = []
    const met = new Set<Oid>()
    const broken: PickleValue[] = []
    for await (const part of this.#context.trees.parts(tree, { owned: this.#owned, met })) {
      if ('fault' in part) faults.push(part.fault)
      else
        for (const [i, key] of part.keys.entries())
          if (!(await this.#checkEntry(oid, path, key, part.values[i] ?? null))) broken.push(key)
    }
    const whole = await this.#context.trees.check(tree)
    if (whole !== undefined && faults.length === 0) faults.push(whole)
    for (const fault of faults)
      this.#context.found(
        { kind: 'directory', path, ...fault, reason: `entries cannot be read: ${fault.reason}` },
        'what they led to is in lost+found',
      )
    if (this.#context.isRepair) {
      const kept =
        faults.length === 0 ? tree : ((await this.#context.trees.rebuild(tree, this.#owned)) as OOBTree)
      for (const key of broken) await kept.delete(key as ByteString)
      await inode.activate()
      if (kept !== tree) inode.entries = kept.ref
    }
    for (const part of met) this.#owned.add(part)
  }

  /** Checks an entry; resolves to whether it can stay. */
  async #checkEntry(directory: Oid, path: string, key: PickleValue, value: PickleValue): Promise<boolean> {
    await this.#context.turns.pass()
    const name = key instanceof ByteString ? key.latin1 : undefined
    const below = `${path === '/' ? '' : path}/${name ?? '?'}`
    const drop = (reason: string, oid?: Oid): false => {
      this.#context.found(
        { kind: 'entry', path: below, reason, ...(oid !== undefined && { oid }) },
        'the entry is removed; an inode that it led to is in lost+found',
      )
      return false
    }
    if (name === undefined || !isEntryName(name)) return drop('its name is not valid')
    if (path === '/' && isReservedName(name))
      return drop('the name is reserved: it would hide what a mount shows by it')
    if (!(value instanceof Ref)) return drop('the entry is not a reference')
    const known = this.#context.inodes.get(value.oid)
    if (known !== undefined) {
      if (known.isDirectory)
        return drop(
          `the directory is also in another place: ${await this.#context.inodes.pathOf(value.oid)}`,
          value.oid,
        )
      this.#context.inodes.addName(value.oid)
      return true
    }
    const inode = await this.inode(value, below)
    if (inode === undefined) return drop('the entry does not lead to an inode', value.oid)
    await this.meet(inode, below, directory, name)
    return true
  }
}

/** What an inode must have to be used. Reading an attribute of a wrong type throws. */
const NEEDED = ['knownMode', 'uid', 'gid', 'nlink', 'size', 'rdev', 'stored', 'target', 'xattrs'] as const

/** What keeps an inode from being used; undefined if nothing does. */
function oddityOf(inode: Inode): string | undefined {
  try {
    for (const key of NEEDED) Reflect.get(inode, key)
    for (const key of ['atime', 'mtime', 'ctime', 'birthtime'] as const) inode.time(key)
    return undefined
  } catch (error) {
    return faultOf(error).reason
  }
}
