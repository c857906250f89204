/**
 * The names of imported files: the paths from the source's root mapping, and `bigfile/<oid>` for files without a name. If an
 * object on a path is missing because a pack has dropped its state, the names below it are unknown: they stay unchanged
 * until it exists again.
 */
import type { Connection } from '../../objects/connection.ts'
import { formatOid, type Oid } from '../../../store/ids.ts'
import type { FileTree } from './file-tree.ts'
import type { ImportMap } from './import-map.ts'
import type { MissingObjects } from './missing-objects.ts'
import { walkNames } from './walk-names.ts'

/** Directory of files without a name. */
const UNNAMED = 'bigfile'

/** The source's state at one transaction, and the tree to update. */
export interface NamedMoment {
  readonly source: Connection
  readonly tree: FileTree
  readonly timeNs: bigint
}

export interface ImportedNamesOptions {
  readonly map: ImportMap
  /** The directory in our database, '' for its root. */
  readonly into: string
  readonly missing: MissingObjects
  readonly log?: (message: string) => void
}

export class ImportedNames {
  readonly #options: ImportedNamesOptions
  /** Whether the last walk saw all names. A resumed import walks them again. */
  #isComplete = false
  /** Inodes' files that have lost their last name; they may get another one at the same moment. */
  readonly #nameless = new Set<Oid>()

  constructor(options: ImportedNamesOptions) {
    this.#options = options
  }

  /** If false, the next moment's names must be walked even if no object on a path has changed. */
  get isComplete(): boolean {
    return this.#isComplete
  }

  /** A name of the source as a path in our database. */
  pathOf(name: string): string {
    const { into } = this.#options
    return into === '' ? name : `${into}/${name}`
  }

  /** Updates our names to those of a moment. @param isLast whether it is the last moment: then unknown names are resolved. */
  async update(moment: NamedMoment, isLast: boolean): Promise<void> {
    const { map, missing, log } = this.#options
    const { at } = moment.source
    this.#isComplete = true
    const names = walkNames(moment.source, {
      onSkip: message => log?.(message),
      onMissing: oid => {
        this.#isComplete = false
        missing.add(oid, at)
      },
    })
    for await (const { path, file } of names)
      if (map.file(file) !== undefined) await this.#name(path, file, moment)
    if (this.#isComplete || isLast) await this.#updateUnseen(moment)
    for (const file of this.#nameless) {
      const inode = map.file(file)?.inode
      if (inode !== undefined && !(await moment.tree.isNamed(inode))) map.setInode(file, undefined)
    }
    this.#nameless.clear()
  }

  /** Names files that have no name, and removes names that are no longer there. */
  async #updateUnseen(moment: NamedMoment): Promise<void> {
    const { map } = this.#options
    const { at } = moment.source
    for (let file = map.nextUnnamed(at); file !== undefined; file = map.nextUnnamed(at))
      await this.#name(`${UNNAMED}/${formatOid(file)}`, file, moment)
    for (let gone = map.takeVanished(at); gone !== undefined; gone = map.takeVanished(at))
      await this.#unname(gone.name, gone.file, moment)
  }

  async #name(name: string, file: Oid, moment: NamedMoment): Promise<void> {
    const { map } = this.#options
    const { at } = moment.source
    const before = map.seePath(name, file, at)
    if (before === file) return
    // What was a file may be a directory now, and the other way round.
    for (let gone = map.takeConflicting(name, at); gone !== undefined; gone = map.takeConflicting(name, at))
      await this.#unname(gone.name, gone.file, moment)
    if (before !== undefined) await this.#unname(name, before, moment)
    const inode = map.file(file)?.inode ?? (await this.#createInode(file, moment))
    await moment.tree.link(this.pathOf(name), inode, moment.timeNs)
  }

  async #createInode(file: Oid, { tree, timeNs }: NamedMoment): Promise<Oid> {
    const { map } = this.#options
    const ours = map.get(file)?.ours
    if (ours === undefined) throw new Error(`file ${file} is not in the map`)
    const inode = await tree.createFile(ours, timeNs)
    map.setInode(file, inode)
    map.addCopied(file, 0)
    return inode
  }

  async #unname(name: string, file: Oid, { tree, timeNs }: NamedMoment): Promise<void> {
    const inode = this.#options.map.file(file)?.inode
    if (inode === undefined) return
    if (!(await tree.unlink(this.pathOf(name), inode, timeNs))) this.#nameless.add(file)
  }
}
