/**
 * An inode in use: what the filesystem remembers of it while the kernel refers to it, a handle is open, or an
 * operation is under way. The kernel may refer to millions: of one that nobody uses no object is held here.
 */
import type { BigFile } from '../../big-file/big-file.ts'
import type { Inode } from '../../tree/inode.ts'
import type { Oid } from '../../../store/ids.ts'
import { ErrnoError } from '../errno.ts'
import { ReadWriteLock } from '../locks.ts'
import type { Ino } from '../operations.ts'
import type { Tree } from './tree.ts'

export class Node {
  readonly tree: Tree
  readonly oid: Oid
  readonly ino: Ino
  /** Shared by who reads the inode, its data or its entries; held alone by who changes them. */
  readonly lock = new ReadWriteLock()
  /** The kernel's references. */
  lookups = 0
  /** Open handles. */
  handles = 0
  /** Operations under way. */
  users = 0
  /** It has no name any more. */
  isOrphan = false
  /** Its data, once it was used. */
  file: BigFile | undefined
  /** A name that it was found by, and in which directory: for people. */
  name: { readonly parent: Oid; readonly name: string } | undefined
  #inode: Inode | undefined
  #isGone = false

  constructor(tree: Tree, oid: Oid, ino: Ino) {
    this.tree = tree
    this.oid = oid
    this.ino = ino
  }

  /** Its inode, to be activated before use. @throws ErrnoError ESTALE where its making was taken back. */
  get inode(): Inode {
    if (this.#isGone) throw new ErrnoError('ESTALE', 'the transaction that made it was taken back')
    return (this.#inode ??= this.tree.inodeAt(this.oid))
  }

  /** Whether somebody outside may still come back to it. */
  get isReferenced(): boolean {
    return this.lookups > 0 || this.handles > 0
  }

  /** Bytes written that no record has yet, roughly. */
  unstoredBytes = 0
  #growth = 0
  #isEmptied = false

  /** Notes by how many bytes the stored data has grown. */
  noteGrowth(bytes: number): void {
    this.#growth += bytes
  }

  /** Notes that no data is stored any more. */
  noteEmptied(): void {
    this.#isEmptied = true
    this.#growth = 0
  }

  /** What is stored now where it was `stored` before; begins to count anew. */
  settleGrowth(stored: number): number {
    const now = (this.#isEmptied ? 0 : stored) + this.#growth
    this.#isEmptied = false
    this.#growth = 0
    this.unstoredBytes = 0
    return now
  }

  /** Whether something is still to be written into the inode. */
  get isUnsettled(): boolean {
    return this.file?.isDirty === true || this.#isEmptied || this.#growth !== 0
  }

  /** Forgets everything about its data that is not stored: it was taken back. */
  revert(isOrphan: boolean): void {
    this.isOrphan = isOrphan
    this.file = undefined
    this.#isEmptied = false
    this.#growth = 0
    this.unstoredBytes = 0
  }

  /** Its inode was never stored and never will be. */
  vanish(): void {
    this.#isGone = true
  }

  /** Lets go of its objects, which are found again: the connection is given up, or nobody uses them for now. */
  detach(): void {
    this.#inode = undefined
    this.file = undefined
  }
}
