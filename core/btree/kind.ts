/**
 * A family of BTrees: its keys and its nodes' sizes.
 * Source: BTrees' max_leaf_size and max_internal_size.
 */
import { ByteString, type PickleValue } from '../objects/pickle/value.ts'

/** A key of an OOBTree: bytes or text, one kind in one tree. */
export type ObjectKey = ByteString | string

export interface KeyKind<K> {
  /** The class name of trees, and of their buckets. */
  readonly tree: string
  readonly bucket: string
  /** A bucket splits when it has more entries than this. */
  readonly maxLeaf: number
  /** An inner node splits when it has more children than this; a root, at twice as many. */
  readonly maxInternal: number
  /** Negative, 0 or positive if `a` is before, equal to or after `b`. */
  readonly compare: (a: K, b: K) => number
  /** The key for a pickle value; undefined if it cannot be one. */
  readonly decode: (value: PickleValue) => K | undefined
  /** What keys take in memory beside the usual, in bytes. */
  readonly weigh: (keys: readonly K[]) => number
  /** Why it cannot be a key of this family; undefined if it can. */
  readonly refuse: (key: K) => string | undefined
}

function integers(prefix: string, lo: number, hi: number): KeyKind<number> {
  const within = (key: unknown): key is number =>
    Number.isSafeInteger(key) && lo <= Number(key) && Number(key) < hi
  return {
    tree: `BTrees.${prefix}BTree.${prefix}BTree`,
    bucket: `BTrees.${prefix}BTree.${prefix}Bucket`,
    maxLeaf: 60,
    maxInternal: 500,
    compare: (a, b) => a - b,
    decode: value => (typeof value === 'number' && within(value) ? value : undefined),
    weigh: () => 0,
    refuse: key => (within(key) ? undefined : `${String(key)} is not in [${lo}, ${hi})`),
  }
}

/** 32-bit integers to objects. */
export const IO = integers('IO', -(2 ** 31), 2 ** 31)

/** 64-bit integers to objects; only integers that a double represents exactly. */
export const LO = integers('LO', Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)

/** Objects to objects; keys may only be bytes or text. */
export const OO: KeyKind<ObjectKey> = {
  tree: 'BTrees.OOBTree.OOBTree',
  bucket: 'BTrees.OOBTree.OOBucket',
  maxLeaf: 30,
  maxInternal: 250,
  compare(a, b) {
    if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
    if (typeof a === 'string' || typeof b === 'string') return typeof a === 'string' ? 1 : -1
    return a.latin1 < b.latin1 ? -1 : a.latin1 > b.latin1 ? 1 : 0
  },
  decode: value => (typeof value === 'string' || value instanceof ByteString ? value : undefined),
  weigh(keys) {
    let bytes = 0
    for (const key of keys) bytes += typeof key === 'string' ? 2 * key.length : key.latin1.length
    return bytes
  },
  refuse: () => undefined,
}

/** Compares by code points, as Python does; JavaScript's `<` compares UTF-16 units. */
function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x === y) continue
    return rank(x) - rank(y)
  }
  return a.length - b.length
}

/** Surrogates encode code points above all other units. */
const rank = (unit: number): number => (unit >= 0xd800 && unit < 0xe000 ? unit + 0x10000 : unit)
