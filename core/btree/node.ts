/**
 * A BTree's node and its record. A node has children (all buckets, or all nodes), or, while everything fits into
 * one bucket that has never been a separate object, that bucket's entries **inlined**. Its state is one of
 *
 * | form | state                                       | content                                                 |
 * |------|---------------------------------------------|---------------------------------------------------------|
 * | 1    | `None`                                      | empty                                                   |
 * | 2    | `((((k0, v0, ...),),),)`                    | inlined entries                                         |
 * | 3    | `((c0, k1, c1, k2, ...), ref firstbucket)`  | children; child i has the keys in `[k_i, k_i+1)`        |
 * | 4    | `((ref bucket,), ref bucket)`               | one separate bucket, which is never inlined again       |
 */
import type { Oid } from '../../store/ids.ts'
import { Persistent, type Jar } from '../objects/persistent.ts'
import { Ref, Tuple, type PickleValue } from '../objects/pickle/value.ts'
import { decodeEntries, encodeEntries, type Entries } from './bucket.ts'
import type { KeyKind } from './kind.ts'

/** A node's content: either `inlined`, or children with `separators[i]` between child i and child i + 1. */
export interface NodeContent<K> {
  inlined: Entries<K> | undefined
  children: Ref[]
  separators: K[]
  /** The leftmost bucket below; undefined without children. */
  first: Ref | undefined
}

/** Maximum depth: a deeper tree would not fit on any disk, so it has a loop or was made to be slow. */
export const MAX_DEPTH = 32

export abstract class BTreeNode<K extends PickleValue> extends Persistent {
  readonly kind: KeyKind<K>
  #content: NodeContent<K> | undefined

  constructor(jar: Jar, oid: Oid, className: string, kind: KeyKind<K>) {
    super(jar, oid, className)
    this.kind = kind
  }

  /** Its content, for reading. */
  get content(): Readonly<NodeContent<K>> {
    if (this.#content === undefined) throw this.ghostError()
    return this.#content
  }

  /** Replaces its content. */
  assign(content: NodeContent<K>): void {
    this.changing()
    this.#content = content
  }

  /** Its content, for changing. */
  change(): NodeContent<K> {
    this.changing()
    if (this.#content === undefined) throw this.ghostError()
    return this.#content
  }

  override get sizeBytes(): number {
    const content = this.#content
    const { children = [], separators = [], inlined } = content ?? {}
    const entries = inlined?.keys ?? []
    return (
      300 + 90 * (children.length + entries.length) + this.kind.weigh(entries) + this.kind.weigh(separators)
    )
  }

  protected override decode(state: PickleValue): void {
    this.#content = state === null ? emptyContent() : this.#decodeChildren(state)
  }

  #decodeChildren(state: PickleValue): NodeContent<K> {
    const [data, first] = state instanceof Tuple ? state.items : []
    if (!(data instanceof Tuple) || data.items.length % 2 !== 1)
      throw this.corrupt("its state is not one of a tree's four forms")
    const inlined = data.items[0]
    if (inlined instanceof Tuple) {
      const entries = decodeEntries(inlined.items[0], this.kind)
      if (typeof entries === 'string') throw this.corrupt(entries)
      return { ...emptyContent<K>(), inlined: entries }
    }
    if (!(first instanceof Ref)) throw this.corrupt('its first bucket is not a reference')
    const content: NodeContent<K> = { ...emptyContent<K>(), first }
    for (const [i, item] of data.items.entries()) {
      if (i % 2 === 0) content.children.push(this.#decodeChild(item))
      else content.separators.push(this.#decodeSeparator(item, content.separators.at(-1)))
    }
    return content
  }

  #decodeChild(item: PickleValue): Ref {
    if (!(item instanceof Ref)) throw this.corrupt('one of its children is not a reference')
    if (item.className !== this.kind.tree && item.className !== this.kind.bucket)
      throw this.corrupt(`a child of a ${this.className} is a ${item.className}`)
    return item
  }

  #decodeSeparator(item: PickleValue, last: K | undefined): K {
    const key = this.kind.decode(item)
    if (key === undefined) throw this.corrupt('a separator is of the wrong type or out of range')
    if (last !== undefined && this.kind.compare(last, key) >= 0)
      throw this.corrupt('separators do not ascend')
    return key
  }

  protected override encode(): PickleValue {
    const { inlined, children, separators, first } = this.content
    if (inlined !== undefined) return new Tuple([new Tuple([new Tuple([encodeEntries(inlined)])])])
    if (first === undefined) return null
    const data: PickleValue[] = []
    for (const [i, child] of children.entries()) {
      if (i > 0) data.push(separators[i - 1] ?? null)
      data.push(child)
    }
    return new Tuple([new Tuple(data), first])
  }

  protected override clear(): void {
    this.#content = undefined
  }

  protected override initialize(): void {
    this.#content = emptyContent()
  }
}

/** Whether an object is a node of this family of trees. */
export const isNodeOf = <K extends PickleValue>(
  object: Persistent | undefined,
  kind: KeyKind<K>,
): object is BTreeNode<K> => object instanceof BTreeNode && object.kind === kind

function emptyContent<K>(): NodeContent<K> {
  return { inlined: undefined, children: [], separators: [], first: undefined }
}
