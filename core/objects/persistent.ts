/**
 * An object of the database, in one of three states:
 *
 *     ghost --activate--> up to date --a change--> changed
 *       ^                     |  ^                    |
 *       +-----deactivate------+  +----serialised------+
 *
 * - A **ghost** has its oid and its class, and no state.
 * - An **up to date** object has the state of the view it belongs to, and can be made a ghost at any time.
 * - A **changed** object has the only copy of its state: `deactivate` ignores it until it is serialised.
 *
 * Objects refer to one another by {@link Ref}, so that no object retains another. Exceptions are files and blocks,
 * which hold their trees; these are usually ghosts.
 *
 * After `await object.activate()` the object can be used until the next turn of the event loop; the cache makes
 * ghosts only between turns. Code that awaits something else in between must activate it again (which is free).
 */
import { CorruptRecordError } from '../../store/errors.ts'
import { TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { Ref, type PickleValue } from './pickle/value.ts'

export type Status = 'ghost' | 'up to date' | 'changed'

/** The constructor of a concrete subclass of {@link Persistent}. */
export type PersistentClass<T extends Persistent = Persistent> = new (
  jar: Jar,
  oid: Oid,
  className: string,
) => T

/** The operations of a connection that its objects use. */
export interface Jar {
  /** Loads a ghost's state. @throws ObjectNotFoundError, CorruptRecordError, StoreError. */
  load(object: Persistent): Promise<void>
  /** Loads the states of many objects in as few store calls as possible; skips those that are not ghosts. */
  loadMany(objects: readonly Persistent[]): Promise<void>
  /** The one object with an oid: the one in memory, or a new ghost. @throws CorruptRecordError if it has another class. */
  resolve(ref: Ref): Persistent
  /** The object with an oid, if it is in memory. */
  known(oid: Oid): Persistent | undefined
  /** Waits until `count` objects can be created at once; undefined if they can be now. @throws ReadOnlyError. */
  reserveOids(count: number): Promise<void> | undefined
  /** A new, empty, changed object of a class, by its name in records, with a reserved oid. @throws ReadOnlyError. */
  createReserved(className: string): Persistent
  /** Called before an up to date object changes. @throws ReadOnlyError. */
  register(object: Persistent): void
  /** Drops an unreferenced object and its changes. */
  discard(object: Persistent): void
  /** Called when an object has become a ghost, to release it. */
  release(object: Persistent): void
  /** Called when an object with a state is used. */
  touch(object: Persistent): void
  /** Whether an up to date object must keep its state for the time being. */
  isHeld(object: Persistent): boolean
}

/** The base of all objects. A subclass keeps its state in fields and converts it from and to pickle values. */
export abstract class Persistent {
  readonly jar: Jar
  readonly oid: Oid
  /** `module.name`, as in its records. */
  readonly className: string
  #status: Status = 'ghost'
  #tid: Tid = TID_NONE
  #isNew = false

  constructor(jar: Jar, oid: Oid, className: string) {
    this.jar = jar
    this.oid = oid
    this.className = className
  }

  get status(): Status {
    return this.#status
  }

  /** The transaction of its state; TID_NONE for a ghost, and if it was never committed. */
  get tid(): Tid {
    return this.#tid
  }

  /** Whether it was created here and not serialised yet: no record can refer to it. */
  get isNew(): boolean {
    return this.#isNew
  }

  get ref(): Ref {
    return new Ref(this.oid, this.className)
  }

  /** Approximate memory of its state, in bytes. */
  abstract get sizeBytes(): number

  /** Sets its state from the value in a record. @throws CorruptRecordError, created by {@link corrupt}. */
  protected abstract decode(state: PickleValue): void
  /** Its state as the value for a record. */
  protected abstract encode(): PickleValue
  /** Drops its state. */
  protected abstract clear(): void
  /** Sets the initial state of a new object. */
  protected abstract initialize(): void

  /** Loads its state; undefined if it has one. @throws ObjectNotFoundError, CorruptRecordError, StoreError. */
  activate(): Promise<void> | undefined {
    if (this.#status === 'ghost') return this.jar.load(this)
    this.jar.touch(this)
    return undefined
  }

  /** Makes it a ghost, unless it is changed or held. */
  deactivate(): void {
    if (this.#status !== 'up to date' || this.jar.isHeld(this)) return
    this.#forget()
    this.jar.release(this)
  }

  /** Makes it a ghost in any state: changes are lost. */
  invalidate(): void {
    if (this.#status !== 'ghost') this.#forget()
  }

  /** For subclasses: call before each change. @throws ReadOnlyError if the view is read-only. */
  protected changing(): void {
    if (this.#status === 'changed') return
    if (this.#status === 'ghost') throw this.ghostError()
    this.jar.register(this)
    this.#status = 'changed'
  }

  /** For subclasses: the error of accessors that need a state. */
  protected ghostError(): Error {
    return new Error(`${this.className} ${this.oid} is a ghost: activate it before use`)
  }

  /** For subclasses: the error for a state that is invalid for its class. */
  corrupt(reason: string, options?: ErrorOptions): CorruptRecordError {
    return new CorruptRecordError(this.oid, this.#tid, reason, options)
  }

  /** For the connection: sets the state of a record, or (undefined) of a new object. */
  restore(record: { readonly state: PickleValue; readonly tid: Tid } | undefined): void {
    this.#tid = record?.tid ?? TID_NONE
    if (record === undefined) this.initialize()
    else this.decode(record.state)
    this.#isNew = record === undefined
    this.#status = record === undefined ? 'changed' : 'up to date'
  }

  /** For the connection: the state to be serialised. */
  capture(): PickleValue {
    return this.encode()
  }

  /** For the connection: marks its changes as serialised. */
  settled(): void {
    if (this.#status === 'changed') this.#status = 'up to date'
    this.#isNew = false
  }

  /** For the connection: sets the transaction that contains its state. */
  committedAs(tid: Tid): void {
    if (this.#status !== 'ghost') this.#tid = tid
  }

  #forget(): void {
    this.#status = 'ghost'
    this.#tid = TID_NONE
    this.clear()
  }
}
