/**
 * The objects of a connection, one per oid.
 *
 * - **Ghosts** are held weakly: an object without references is collected, and its entry removed.
 * - **Up to date** objects are held by an LRU bounded in bytes; an evicted object becomes a ghost at the end of the
 *   event loop's turn, so that an object that was just activated can be used.
 * - **Changed** objects are held until they are settled.
 * - From a commit's load step to its prepare, all objects that are used stay up to date ({@link ObjectCache.startHolding}).
 */
import { LRUCache } from 'lru-cache'
import type { Oid, Tid } from '../../store/ids.ts'
import type { Persistent } from './persistent.ts'

/** The number of objects of a class in memory, by status. */
export interface ClassCounts {
  ghosts: number
  upToDate: number
  changed: number
}

/** Minimum size: a smaller cache would evict a path through a tree while it is in use. */
const MINIMUM_BYTES = 1 << 20

/** Memory of an object besides its state: its entries in the cache's tables. */
const OBJECT_BYTES = 300

/** Maximum bytes of objects that stay up to date for a prepare. */
const HELD_BYTES_MAX = 64 << 20

export class ObjectCache {
  readonly #known = new Map<Oid, WeakRef<Persistent>>()
  readonly #live: LRUCache<Oid, Persistent>
  readonly #changed = new Map<Oid, Persistent>()
  readonly #collected = new FinalizationRegistry<Oid>(oid => {
    if (this.#known.get(oid)?.deref() === undefined) this.#known.delete(oid)
  })
  #evicted: Persistent[] = []
  readonly #held = new Set<Persistent>()
  #heldBytes = 0
  #isHolding = false
  readonly limitBytes: number
  /** Number of uses of up to date objects. */
  hits = 0

  constructor(sizeBytes: number) {
    this.limitBytes = Math.max(sizeBytes, MINIMUM_BYTES)
    this.#live = new LRUCache({
      maxSize: this.limitBytes,
      sizeCalculation: object => OBJECT_BYTES + object.sizeBytes,
      dispose: (object, _oid, reason) => {
        if (reason === 'evict') this.#evict(object)
      },
    })
  }

  /** The bytes of up to date objects. */
  get sizeBytes(): number {
    return this.#live.calculatedSize
  }

  /** The changed objects, in the order of their changes. */
  get changed(): Iterable<Persistent> {
    return this.#changed.values()
  }

  /** The oids of the objects whose state is of a transaction. */
  ofTransaction(tid: Tid): readonly Oid[] {
    const oids: Oid[] = []
    for (const [oid, reference] of this.#known) if (reference.deref()?.tid === tid) oids.push(oid)
    return oids
  }

  get hasChanged(): boolean {
    return this.#changed.size > 0
  }

  get(oid: Oid): Persistent | undefined {
    return this.#known.get(oid)?.deref()
  }

  *all(): Generator<Persistent> {
    for (const reference of this.#known.values()) {
      const object = reference.deref()
      if (object !== undefined) yield object
    }
  }

  /** Deletes the ghosts whose oid is `from` or higher: others may take their place. */
  deleteFrom(from: number): void {
    for (const oid of this.#known.keys()) if (oid >= from) this.#known.delete(oid)
  }

  /** Adds an object as the one with its oid. */
  add(object: Persistent): void {
    this.#known.set(object.oid, new WeakRef(object))
    this.#collected.register(object, object.oid)
  }

  /** Holds an object according to its status, as the most recently used one. */
  hold(object: Persistent): void {
    const { oid, status } = object
    if (status === 'up to date') {
      this.#changed.delete(oid)
      this.#live.set(oid, object)
      if (this.#isHolding) this.#holdUsed(object)
    } else {
      this.#live.delete(oid)
      if (status === 'changed') this.#changed.set(oid, object)
      else this.#changed.delete(oid)
    }
  }

  /** Marks an up to date object as the most recently used one. */
  touch(object: Persistent): void {
    if (object.status !== 'up to date') return
    this.hits++
    if (this.#live.get(object.oid) === undefined) this.hold(object)
    else if (this.#isHolding) this.#holdUsed(object)
  }

  /** From now on objects that are used stay up to date, within {@link HELD_BYTES_MAX}. */
  startHolding(): void {
    this.#isHolding = true
  }

  endHolding(): void {
    this.#isHolding = false
    this.#heldBytes = 0
    const held = [...this.#held]
    this.#held.clear()
    for (const object of held)
      if (object.status === 'up to date' && this.#live.peek(object.oid) === undefined) this.hold(object)
  }

  isHeld(object: Persistent): boolean {
    return this.#isHolding && this.#held.has(object)
  }

  #holdUsed(object: Persistent): void {
    if (this.#heldBytes > HELD_BYTES_MAX || this.#held.has(object)) return
    this.#held.add(object)
    this.#heldBytes += OBJECT_BYTES + object.sizeBytes
  }

  /** Holds an object that is about to change. */
  holdChanging(object: Persistent): void {
    this.#live.delete(object.oid)
    this.#changed.set(object.oid, object)
  }

  counts(): Record<string, ClassCounts> {
    const counts: Record<string, ClassCounts> = {}
    for (const [oid, reference] of this.#known) {
      const object = reference.deref()
      if (object === undefined) {
        this.#known.delete(oid)
        continue
      }
      const of = (counts[object.className] ??= { ghosts: 0, upToDate: 0, changed: 0 })
      if (object.status === 'ghost') of.ghosts++
      else if (object.status === 'changed') of.changed++
      else of.upToDate++
    }
    return counts
  }

  #evict(object: Persistent): void {
    this.#evicted.push(object)
    if (this.#evicted.length === 1) setImmediate(() => this.#deactivateEvicted())
  }

  #deactivateEvicted(): void {
    const evicted = this.#evicted
    this.#evicted = []
    for (const object of evicted) if (this.#live.peek(object.oid) !== object) object.deactivate()
  }
}
