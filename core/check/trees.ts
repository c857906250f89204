/**
 * Reads damaged BTrees: their readable entries, the damage, and new trees made of the rest. A node or bucket that is in a
 * tree twice is damage, so every walk ends, and its work is proportional to the tree.
 */
import { CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'
import { checkTree } from '../btree/check.ts'
import { BTree } from '../btree/tree.ts'
import { Bucket, type Entries } from '../btree/bucket.ts'
import { BTreeNode, MAX_DEPTH } from '../btree/node.ts'
import type { Connection } from '../objects/connection.ts'
import type { PickleValue, Ref } from '../objects/pickle/value.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import { Turns } from '../turns.ts'
import type { Findings } from './findings.ts'

/** Damage to an object. */
export interface Fault {
  readonly oid: Oid
  readonly tid?: Tid
  readonly reason: string
}

/** A part of a tree: entries in order, or an unreadable range of keys `[lo, hi)`. */
export type TreePart<K> =
  Entries<K> | { readonly lo: K | undefined; readonly hi: K | undefined; readonly fault: Fault }

const TWICE = 'it is in the tree twice'
const OWNED = 'it is part of another directory'

interface Walk {
  readonly depth: number
  /** Nodes and buckets met so far. */
  readonly met: Set<Oid>
  readonly owned: ReadonlyOids
}

/** The nodes and buckets of other trees: one that is in two trees is damage, as a change of one tree would change the other. */
export interface ReadonlyOids {
  has(oid: Oid): boolean
}

const NONE: ReadonlyOids = { has: () => false }

/** The damage that an error reports; rethrows other errors. */
export function faultOf(error: unknown): Fault {
  if (error instanceof CorruptRecordError) return { oid: error.oid, tid: error.tid, reason: error.reason }
  if (error instanceof ObjectNotFoundError) return { oid: error.oid, reason: 'it does not exist' }
  throw error
}

export class Trees {
  readonly #connection: Connection
  readonly #findings: Findings
  readonly #turns = new Turns()

  constructor(connection: Connection, findings: Findings) {
    this.#connection = connection
    this.#findings = findings
  }

  /** Activates an object; resolves to the reason if its present state cannot be used. */
  async fault(object: {
    readonly oid: Oid
    activate(): Promise<void> | undefined
  }): Promise<Fault | undefined> {
    const [lost] = this.#findings.lostOf(object.oid)
    if (lost !== undefined) {
      this.#findings.named(object.oid)
      return { oid: object.oid, tid: lost.tid, reason: lost.reason }
    }
    try {
      await object.activate()
      return undefined
    } catch (error) {
      return faultOf(error)
    }
  }

  /** Checks a tree as a whole; undefined if it is intact. */
  async check<K extends PickleValue>(tree: BTree<K>): Promise<Fault | undefined> {
    const fault = await this.fault(tree)
    if (fault !== undefined) return fault
    try {
      await checkTree(tree, this.#turns)
      return undefined
    } catch (error) {
      return faultOf(error)
    }
  }

  /** A tree's readable entries in order, and the unreadable ranges. @param met receives its nodes and buckets. */
  parts<K extends PickleValue>(
    root: BTreeNode<K>,
    { owned = NONE, met = new Set() }: Partial<Pick<Walk, 'owned' | 'met'>> = {},
  ): AsyncGenerator<TreePart<K>> {
    return this.#partsOf(root, undefined, undefined, { depth: 1, met, owned })
  }

  async *#partsOf<K extends PickleValue>(
    node: BTreeNode<K>,
    lo: K | undefined,
    hi: K | undefined,
    { depth, met, owned }: Walk,
  ): AsyncGenerator<TreePart<K>> {
    await this.#turns.pass()
    const fault =
      depth > MAX_DEPTH
        ? { oid: node.oid, reason: `the tree is deeper than ${MAX_DEPTH} levels` }
        : (placeFault(node.oid, met, owned) ?? (await this.fault(node)))
    if (fault !== undefined) {
      yield { lo, hi, fault }
      return
    }
    met.add(node.oid)
    const { inlined, children, separators } = node.content
    if (inlined !== undefined) yield within(inlined, node, lo, hi)
    for (const [i, ref] of children.entries()) {
      const from = separators[i - 1] ?? lo
      const to = separators[i] ?? hi
      const child = this.#resolve(ref)
      if (child instanceof BTreeNode && child.kind === node.kind)
        yield* this.#partsOf(child as BTreeNode<K>, from, to, { depth: depth + 1, met, owned })
      else if (child instanceof Bucket && child.kind === node.kind) {
        const fault = placeFault(child.oid, met, owned) ?? (await this.fault(child))
        if (fault === undefined) met.add(child.oid)
        yield fault === undefined
          ? within((child as Bucket<K>).entries, node, from, to)
          : { lo: from, hi: to, fault }
      } else {
        const reason =
          'fault' in child ? child.fault.reason : `it is a ${child.className} in a ${node.className}`
        yield { lo: from, hi: to, fault: { oid: ref.oid, reason } }
      }
    }
  }

  /** A new tree with the readable entries of another. @throws ReadOnlyError */
  async rebuild<K extends PickleValue>(tree: BTree<K>, owned?: ReadonlyOids): Promise<BTree<K>> {
    const made = await this.#connection.createNamed(tree.className)
    if (!(made instanceof BTree)) throw new TypeError(`a ${tree.className} is not a tree`)
    for await (const part of this.parts(tree, owned && { owned })) {
      if ('fault' in part) continue
      for (const [i, key] of part.keys.entries()) await made.set(key, part.values[i] ?? null)
    }
    return made as BTree<K>
  }

  #resolve(ref: Ref): ReturnType<Connection['resolve']> | { readonly fault: Fault } {
    try {
      return this.#connection.resolve(ref)
    } catch (error) {
      return { fault: faultOf(error) }
    }
  }
}

/** The damage of a node or bucket that is in a tree twice, or in two trees. */
function placeFault(oid: Oid, met: ReadonlySet<Oid>, owned: ReadonlyOids): Fault | undefined {
  if (met.has(oid)) return { oid, reason: TWICE }
  return owned.has(oid) ? { oid, reason: OWNED } : undefined
}

/** A copy of the entries between the surrounding separators: a look-up finds no others. */
function within<K extends PickleValue>(
  { keys, values }: Entries<K>,
  { kind }: BTreeNode<K>,
  lo: K | undefined,
  hi: K | undefined,
): Entries<K> {
  const found: Entries<K> = { keys: [], values: [] }
  for (const [i, key] of keys.entries()) {
    if ((lo !== undefined && kind.compare(key, lo) < 0) || (hi !== undefined && kind.compare(key, hi) >= 0))
      continue
    found.keys.push(key)
    found.values.push(values[i] ?? null)
  }
  return found
}
