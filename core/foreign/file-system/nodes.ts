/**
 * The inodes of an external ZODB database that the kernel refers to.
 *
 * An inode represents a place: a name in a directory of a view, and the object found there. Its number is a hash of
 * those, so that it is stable, but changes when the name leads to another object. (Objects cannot be inodes themselves: the graph of a database may have loops, and a directory in two
 * places would confuse the kernel.)
 */
import { createHash } from 'node:crypto'
import type { ForeignEntry } from '../naming.ts'
import type { Ref } from '../../objects/pickle/value.ts'
import { formatTid, type Oid } from '../../../store/ids.ts'
import { ErrnoError } from '../../file-system/errno.ts'
import { ROOT_INO, type Ino, type Name, ino as toIno } from '../../file-system/operations.ts'
import type { View } from './view.ts'

/** The object that an inode represents. */
export type Target =
  /** A directory above the database's own names (layouts.ts). */
  | { readonly kind: 'fixed'; readonly entries: FixedEntries }
  /** A generated file of a layout. */
  | { readonly kind: 'generated'; readonly content: GeneratedContent }
  /** `head/watch` (core/foreign/wcfs/). */
  | { readonly kind: 'watch' }
  /** `bigfile`: files by oid. */
  | { readonly kind: 'bigfiles' }
  | { readonly kind: 'directory'; readonly ref: Ref }
  /** A ZBigFile, and the ZBigArray through which it was found. */
  | { readonly kind: 'file'; readonly file: Oid; readonly array?: Oid }

/** The names of a directory, sorted. */
export type FixedEntries = readonly (readonly [Name, Target])[]

export type GeneratedContent = 'at' | 'zurl' | 'pintimeout'

export const isDirectoryTarget = ({ kind }: Target): boolean =>
  kind === 'fixed' || kind === 'bigfiles' || kind === 'directory'

export interface Node {
  readonly ino: Ino
  readonly key: string
  readonly parent: Node | undefined
  readonly view: View
  readonly target: Target
  /** Number of the kernel's references and of handles. */
  references: number
}

const HASH_DIGITS = 13

/** The preferred number of a place: 52 bits of a hash. */
function numberOf(key: string): number {
  return Number.parseInt(createHash('sha256').update(key).digest('hex').slice(0, HASH_DIGITS), 16)
}

export class Nodes {
  readonly root: Node
  readonly #nodes = new Map<Ino, Node>()
  readonly #onViewUnused: (view: View) => void
  readonly #perView = new Map<View, number>()

  constructor(live: View, root: Target, onViewUnused: (view: View) => void) {
    this.root = {
      ino: ROOT_INO,
      key: '',
      parent: undefined,
      view: live,
      target: root,
      references: 1,
    }
    this.#nodes.set(ROOT_INO, this.root)
    this.#onViewUnused = onViewUnused
  }

  /** @throws ErrnoError ESTALE */
  get(ino: Ino): Node {
    const node = this.#nodes.get(ino)
    if (node === undefined) throw new ErrnoError('ESTALE', `inode ${ino} is not in use`)
    return node
  }

  /** The number that an entry of a directory has or would get. */
  inoOf(parent: Node, name: string, target: Target, view: View = parent.view): Ino {
    const key = keyOf(parent, name, target, view)
    for (let number = numberOf(key); ; number++) {
      if (number <= ROOT_INO) continue
      const known = this.#nodes.get(toIno(number))
      if (known === undefined || known.key === key) return toIno(number)
    }
  }

  /** Adds a reference to an entry of a directory. */
  refer(parent: Node, name: Name, target: Target, view: View = parent.view): Node {
    const ino = this.inoOf(parent, name, target, view)
    let node = this.#nodes.get(ino)
    if (node === undefined) {
      node = { ino, key: keyOf(parent, name, target, view), parent, view, target, references: 0 }
      parent.references++
      this.#nodes.set(ino, node)
      this.#perView.set(view, (this.#perView.get(view) ?? 0) + 1)
    }
    node.references++
    return node
  }

  /** Adds a reference, to be released by {@link Nodes.release}. */
  retain(node: Node): Node {
    node.references++
    return node
  }

  /** Releases references; the last one frees the node. */
  release(node: Node, count: number): void {
    node.references -= count
    if (node.references > 0 || node === this.root || this.#nodes.get(node.ino) !== node) return
    this.#nodes.delete(node.ino)
    const left = (this.#perView.get(node.view) ?? 1) - 1
    this.#perView.set(node.view, left)
    if (left === 0) {
      this.#perView.delete(node.view)
      this.#onViewUnused(node.view)
    }
    if (node.parent !== undefined) this.release(node.parent, 1)
  }

  known(ino: Ino): Node | undefined {
    return this.#nodes.get(ino)
  }

  all(): Iterable<Node> {
    return this.#nodes.values()
  }
}

/** The target of a directory's entry. `file` is that of a ZBigArray, once known. */
export function targetOf({ kind, ref }: ForeignEntry, file: Oid = ref.oid): Target {
  if (kind === 'directory') return { kind, ref }
  return kind === 'file' ? { kind, file } : { kind: 'file', file, array: ref.oid }
}

function keyOf(parent: Node, name: string, target: Target, view: View): string {
  const moment = view.isLive ? '' : formatTid(view.at)
  const object =
    target.kind === 'directory' ? target.ref.oid : target.kind === 'file' ? (target.array ?? target.file) : ''
  return `${parent.ino}/${moment}/${object}/${name}`
}
