/**
 * A BTree's leaf: entries in order, and a reference to the next leaf.
 * State: `((k0, v0, k1, v1, ...),)`, or `((...), ref next)`.
 */
import { Persistent, type Jar } from '../objects/persistent.ts'
import type { Oid } from '../../store/ids.ts'
import { Ref, Tuple, type PickleValue } from '../objects/pickle/value.ts'
import { IO, LO, OO, type KeyKind, type ObjectKey } from './kind.ts'

/** A leaf's entries: `values[i]` belongs to `keys[i]`, keys ascend strictly. */
export interface Entries<K> {
  readonly keys: K[]
  readonly values: PickleValue[]
}

/** Decodes `(k0, v0, k1, v1, ...)`. Returns the reason if it is something else. */
export function decodeEntries<K>(items: PickleValue | undefined, kind: KeyKind<K>): Entries<K> | string {
  if (!(items instanceof Tuple) || items.items.length % 2 !== 0) return 'its entries are not pairs'
  const keys: K[] = []
  const values: PickleValue[] = []
  for (let i = 0; i < items.items.length; i += 2) {
    const key = kind.decode(items.items[i] ?? null)
    if (key === undefined) return 'a key is of the wrong type or out of range'
    const last = keys.at(-1)
    if (last !== undefined && kind.compare(last, key) >= 0) return 'keys do not ascend'
    keys.push(key)
    values.push(items.items[i + 1] ?? null)
  }
  return { keys, values }
}

/** The inverse of {@link decodeEntries}. */
export function encodeEntries<K extends PickleValue>({ keys, values }: Entries<K>): Tuple {
  return new Tuple(keys.flatMap((key, i): PickleValue[] => [key, values[i] ?? null]))
}

/** The first position whose key is `>= key`, or `> key` if `after`. */
export function position<K>(keys: readonly K[], key: K, kind: KeyKind<K>, after = false): number {
  let lo = 0
  let hi = keys.length
  while (lo < hi) {
    const middle = (lo + hi) >>> 1
    const order = kind.compare(keys[middle] as K, key)
    if (order < 0 || (after && order === 0)) lo = middle + 1
    else hi = middle
  }
  return lo
}

export abstract class Bucket<K extends PickleValue> extends Persistent {
  readonly kind: KeyKind<K>
  #entries: Entries<K> | undefined
  #next: Ref | undefined

  constructor(jar: Jar, oid: Oid, className: string, kind: KeyKind<K>) {
    super(jar, oid, className)
    this.kind = kind
  }

  /** Its entries, for reading. */
  get entries(): Entries<K> {
    if (this.#entries === undefined) throw this.ghostError()
    return this.#entries
  }

  /** Its entries, for changing. */
  change(): Entries<K> {
    this.changing()
    return this.entries
  }

  get next(): Ref | undefined {
    return this.#next
  }

  /** Sets the content of a new bucket, or its next bucket. */
  assign(entries: Entries<K>, next: Ref | undefined): void {
    this.changing()
    this.#entries = entries
    this.#next = next
  }

  override get sizeBytes(): number {
    const keys = this.#entries?.keys ?? []
    return 200 + 90 * keys.length + this.kind.weigh(keys)
  }

  protected override decode(state: PickleValue): void {
    if (!(state instanceof Tuple) || state.items.length < 1 || state.items.length > 2)
      throw this.corrupt('its state is not a tuple of entries and the next bucket')
    const entries = decodeEntries(state.items[0], this.kind)
    if (typeof entries === 'string') throw this.corrupt(entries)
    const next = state.items[1]
    if (next !== undefined && !(next instanceof Ref)) throw this.corrupt('its next bucket is not a reference')
    this.#entries = entries
    this.#next = next
  }

  protected override encode(): PickleValue {
    const entries = encodeEntries(this.entries)
    return new Tuple(this.#next === undefined ? [entries] : [entries, this.#next])
  }

  protected override clear(): void {
    this.#entries = undefined
    this.#next = undefined
  }

  protected override initialize(): void {
    this.#entries = { keys: [], values: [] }
  }
}

/** Whether an object is a bucket of this family of trees. */
export const isBucketOf = <K extends PickleValue>(
  object: Persistent | undefined,
  kind: KeyKind<K>,
): object is Bucket<K> => object instanceof Bucket && object.kind === kind

export class IOBucket extends Bucket<number> {
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, IO)
  }
}

export class LOBucket extends Bucket<number> {
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, LO)
  }
}

export class OOBucket extends Bucket<ObjectKey> {
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, OO)
  }
}
