/**
 * A BTree: an ordered map in small records, which grows, splits and empties exactly like ZODB's BTrees.
 *
 * - A bucket or node that has grown beyond its maximum splits at `length >> 1`; the right part's first key becomes
 *   the separator. The root splits at twice its maximum: it moves its content into a new child, which splits.
 * - Deleting never merges. An emptied bucket is unlinked; a separator equal to the deleted key becomes the smallest
 *   remaining key below it.
 *
 * Every operation is an **attempt**: synchronous code over the nodes in memory. If it meets a ghost, it returns before
 * it has changed anything; the ghost is loaded and the attempt is repeated. So every operation sees and leaves a
 * consistent tree, whatever runs between its attempts. Changes to one tree must not run concurrently; reads may.
 *
 * An attempt takes at most two paths from the root, so the work of an operation is bounded by the depth of the tree. A
 * damaged tree (loops, wrong types, keys out of order on the path, a chain of buckets that differs from the order of the
 * nodes) is a CorruptRecordError.
 */
import type { Awaitable } from '../../store/awaitable.ts'
import type { Oid } from '../../store/ids.ts'
import type { Jar } from '../objects/persistent.ts'
import type { PickleValue } from '../objects/pickle/value.ts'
import { position, type Entries } from './bucket.ts'
import { IO, LO, OO, type ObjectKey } from './kind.ts'
import { TreeChanges } from './tree-changes.ts'
import { Missing, NO_ENTRIES } from './tree-paths.ts'

/** Entries `[lo, hi)` (`(lo, hi)` with `after`), ascending, or descending if `reverse`. */
export interface KeyRange<K> {
  readonly lo?: K | undefined
  readonly after?: boolean
  readonly hi?: K | undefined
  readonly reverse?: boolean
}

export abstract class BTree<K extends PickleValue> extends TreeChanges<K> {
  /** The value of a key; undefined if there is none. Without a promise if no ghost is met. */
  get(key: K): Awaitable<PickleValue | undefined> {
    if (this.status !== 'ghost') {
      const value = this.#valueOf(key)
      if (!(value instanceof Missing)) {
        this.jar.touch(this)
        return value
      }
    }
    return this.#attempt(() => this.#valueOf(key))
  }

  /** Sets a key's value. Resolves to whether the key is new. @throws RangeError for a key out of range. */
  set(key: K, value: PickleValue): Promise<boolean> {
    return this.#attempt(() => {
      const refused = this.kind.refuse(key)
      if (refused !== undefined) throw new RangeError(`invalid key for a ${this.className}: ${refused}`)
      const path = this.descend(key)
      if (path instanceof Missing) return path
      const missing = this.missingToSplit(path)
      if (missing !== undefined) return missing
      const reserved = this.jar.reserveOids(this.newObjectsMax(path))
      return reserved === undefined ? this.setAt(path, key, value) : new Awaited(reserved)
    })
  }

  /** Removes a key. Resolves to whether it existed. */
  delete(key: K): Promise<boolean> {
    return this.#attempt(() => {
      const path = this.descend(key)
      if (path instanceof Missing) return path
      const at = this.#find(path.entries, key)
      return at < 0 ? false : this.deleteAt(path, at, key)
    })
  }

  /** Loads what {@link BTree.set} of a key reads. */
  async loadToSet(key: K): Promise<void> {
    await this.#attempt(() => {
      const path = this.descend(key)
      return path instanceof Missing ? path : this.missingToSplit(path)
    })
  }

  /** Loads what {@link BTree.delete} of a key reads, even if its bucket is emptied by it. */
  async loadToDelete(key: K): Promise<void> {
    await this.#attempt(() => {
      const path = this.descend(key)
      if (path instanceof Missing) return path
      const before = this.before(path)
      if (before instanceof Missing) return before
      const after = this.after(path)
      return after instanceof Missing ? after : undefined
    })
  }

  /** Removes everything. */
  async clearAll(): Promise<void> {
    await this.activate()
    this.version++
    this.assign({ inlined: undefined, children: [], separators: [], first: undefined })
  }

  /** The smallest key `>= from`; undefined if there is none. */
  async minKey(from?: K): Promise<K | undefined> {
    return (await this.batch({ lo: from }, 1)).keys[0]
  }

  /** The largest key `< below`; undefined if there is none. */
  async maxKey(below?: K): Promise<K | undefined> {
    return (await this.batch({ hi: below, reverse: true }, 1)).keys[0]
  }

  /** The number of entries. Reads every bucket. */
  async count(): Promise<number> {
    let count = 0
    let range: KeyRange<K> = {}
    for (;;) {
      const { keys } = await this.batch(range, Infinity)
      const last = keys.at(-1)
      if (last === undefined) return count
      count += keys.length
      range = { lo: last, after: true }
    }
  }

  /** The first entries of a range, at most `limit` and at most one bucket's; empty only if the range is. */
  batch(range: KeyRange<K>, limit: number): Promise<Entries<K>> {
    return this.#attempt(() =>
      range.reverse === true ? this.#last(range, limit) : this.#first(range, limit),
    )
  }

  /** The entries of a range, in order. The tree may change meanwhile: the iteration continues by key. */
  async *range(range: KeyRange<K> = {}): AsyncGenerator<[K, PickleValue]> {
    let rest = range
    for (;;) {
      const { keys, values } = await this.batch(rest, Infinity)
      if (keys.length === 0) return
      const { version } = this
      for (const [i, key] of keys.entries()) {
        rest = range.reverse === true ? { ...range, hi: key } : { ...range, lo: key, after: true }
        yield [key, values[i] ?? null]
        if (version !== this.version) break
      }
    }
  }

  async #attempt<T>(attempt: () => T | Missing | Awaited): Promise<T> {
    for (;;) {
      if (this.status === 'ghost') await this.activate()
      const result = attempt()
      if (result instanceof Missing) await result.ghost.activate()
      else if (result instanceof Awaited) await result.done
      else {
        this.jar.touch(this)
        return result
      }
    }
  }

  #valueOf(key: K): PickleValue | Missing | undefined {
    const path = this.descend(key)
    if (path instanceof Missing) return path
    const at = this.#find(path.entries, key)
    return at < 0 ? undefined : path.entries.values[at]
  }

  #find({ keys }: Entries<K>, key: K): number {
    const at = position(keys, key, this.kind)
    const found = keys[at]
    return found !== undefined && this.kind.compare(found, key) === 0 ? at : -1
  }

  // ---- ranges

  #first({ lo, after = false, hi }: KeyRange<K>, limit: number): Entries<K> | Missing {
    const path = this.descend(lo)
    if (path instanceof Missing) return path
    let { entries } = path
    let from = lo === undefined ? 0 : position(entries.keys, lo, this.kind, after)
    if (from === entries.keys.length) {
      const next = this.after(path)
      if (next === undefined) return NO_ENTRIES
      if (next instanceof Missing) return next
      const [first] = next.entries.keys
      const last = entries.keys.at(-1) ?? lo
      if (first === undefined) throw next.corrupt('it is an empty bucket of a tree')
      if (last !== undefined && this.kind.compare(last, first) >= 0)
        throw next.corrupt('its keys do not follow those of the previous bucket')
      entries = next.entries
      from = 0
    }
    const end = hi === undefined ? entries.keys.length : position(entries.keys, hi, this.kind)
    const to = Math.min(end, from + limit)
    return { keys: entries.keys.slice(from, to), values: entries.values.slice(from, to) }
  }

  #last({ lo, after = false, hi }: KeyRange<K>, limit: number): Entries<K> | Missing {
    const path = hi === undefined ? this.descendLast() : this.descend(hi)
    if (path instanceof Missing) return path
    let { entries } = path
    let end = hi === undefined ? entries.keys.length : position(entries.keys, hi, this.kind)
    if (end === 0) {
      const before = this.before(path)
      if (before === undefined) return NO_ENTRIES
      if (before instanceof Missing) return before
      entries = before.entries
      end = entries.keys.length
      const last = entries.keys.at(-1)
      if (last === undefined) throw before.corrupt('it is an empty bucket of a tree')
      if (hi !== undefined && this.kind.compare(last, hi) >= 0)
        throw before.corrupt('its keys extend beyond its separator')
    }
    const start = lo === undefined ? 0 : position(entries.keys, lo, this.kind, after)
    const from = Math.max(start, end - limit)
    return {
      keys: entries.keys.slice(from, end).toReversed(),
      values: entries.values.slice(from, end).toReversed(),
    }
  }
}

/** A promise other than a ghost's that an attempt waits for. */
class Awaited {
  readonly done: Promise<void>
  constructor(done: Promise<void>) {
    this.done = done
  }
}

export class IOBTree extends BTree<number> {
  static readonly CLASS_NAME = IO.tree
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, IO)
  }
}

export class LOBTree extends BTree<number> {
  static readonly CLASS_NAME = LO.tree
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, LO)
  }
}

export class OOBTree extends BTree<ObjectKey> {
  static readonly CLASS_NAME = OO.tree
  constructor(jar: Jar, oid: Oid, className: string) {
    super(jar, oid, className, OO)
  }
}
