/**
 * A view of the database at one moment, the objects in memory that belong to it, and the transaction being built.
 *
 * - `at` is the moment of the view. It moves with the connection's own commits and with {@link Connection.advance}.
 * - `get` and `resolve` return the one object of an oid; loader.ts gives ghosts their state, records.ts reads records
 *   without objects.
 * - `prepare` serialises all changes into pending records, `commit` stores them. Between the two, and during the
 *   commit, reads and new changes may run; what was prepared is what is committed.
 * - `spill` stores what was prepared as a part of a transaction that does not fit into memory. From then on `at` is the tid that the
 *   transaction will have; a later `commit` completes it, `abort` drops it. `storeRecords` stores such parts of records without objects,
 *   which appear together with `showStored`.
 *
 * Invariants:
 * - every reader sees the first of these that exists: an object's state, the newest pending record of its oid, the
 *   store's revision at `at`;
 * - the base of a pending record is the revision that it replaces.
 *
 * No change may run during `prepare`. Reads may: an overlaid byte stays in its overlay until the record that has it is
 * pending. Longer than other files because state shared by objects, records and transactions is private to this class.
 */
/* oxlint-disable max-lines -- see above */
import { NO_BYTES } from '../../store/bytes.ts'
import { slabs } from '../../store/slabs.ts'
import {
  CannotOpenError,
  CorruptRecordError,
  NoSpaceError,
  ObjectNotFoundError,
  ReadOnlyError,
} from '../../store/errors.ts'
import { formatTid, oid as toOid, ROOT_OID, type Oid, type Tid } from '../../store/ids.ts'
import { isSlice, type ObjectChange, type RecordSource } from '../../store/changes.ts'
import type { Spilling } from '../../store/capabilities.ts'
import type { NewTransaction, Store, WritableStore } from '../../store/store.ts'
import { classNamed } from './classes.ts'
import type { DerivedCache, LeftOut, Participant } from './participant.ts'
import { OidLease } from './oid-lease.ts'
import { ObjectCache, type ClassCounts } from './object-cache.ts'
import type { Jar, Persistent, PersistentClass } from './persistent.ts'
import { PersistentMapping } from './persistent-mapping.ts'
import type { Ref } from './pickle/value.ts'
import { KeptReads } from './kept-reads.ts'
import { Loader } from './loader.ts'
import { encodeRecord } from './record.ts'
import { Records } from './records.ts'
import { PendingRecords } from './pending-records.ts'
import { inodeKindOf, type Origin } from './transaction-summary.ts'
import { type DroppedFile, dropFiles, dropUnreachable } from './unreachable.ts'
import { Turns } from '../turns.ts'
import { type ZBlkFormat } from './zblk-format.ts'

export interface ConnectionOptions {
  /** The moment of the view; by default the store's last transaction. */
  readonly at?: Tid
  /** The bound of the memory of up-to-date objects, in bytes. */
  readonly cacheSizeBytes: number
  readonly zblkFormat?: ZBlkFormat
  /**
   * Maximum length of a ZBlk1's chunk for data written in long runs, in bytes; by default a block's length.
   * 4096 gives wendelin.core's chunks.
   */
  readonly chunkBytesMax?: number
  /** Called for each changed object that cannot be serialised: its change is lost, and the others are stored. */
  readonly onLeftOut?: (object: LeftOut) => void
}

export interface ConnectionStatistics {
  readonly classes: Readonly<Record<string, ClassCounts>>
  readonly cacheBytes: number
  readonly cacheLimitBytes: number
  /** Uses of objects in memory. */
  readonly hits: number
  /** Objects read from the store. */
  readonly misses: number
  readonly overlayBytes: number
  readonly pendingBytes: number
}

const MINIMUM_DERIVED_BYTES = 1 << 18

export class Connection implements Jar {
  /** The name of the database, for messages. */
  readonly name: string
  readonly records: Records
  /** For participants: the records, as `load` and `prepare` read them. */
  readonly keptReads: KeptReads
  readonly zblkFormat: ZBlkFormat
  readonly chunkBytesMax: number
  /** Maximum size of a {@link DerivedCache} in bytes: a quarter of the cache. */
  readonly derivedBytesMax: number
  readonly #writable: WritableStore | undefined
  readonly #oids: OidLease | undefined
  readonly #cache: ObjectCache
  readonly #pending = new PendingRecords()
  readonly #participants = new Set<Participant>()
  readonly #loader: Loader
  readonly #onLeftOut: (object: LeftOut) => void
  #derived: DerivedCache | undefined
  #at: Tid
  #overlayBytes = 0
  /** The last transaction, while `at` is that of parts. */
  #committedAt: Tid | undefined
  /** The tid of parts that are not shown yet. */
  #storedAs: Tid | undefined
  #spills = 0
  /** Whether a prepare has failed half-way: then the pending records include part of an operation. */
  #torn = false
  /** Participants that have changed since {@link Connection.loadForPrepare} began. */
  readonly #unloaded = new Set<Participant>()

  private constructor(
    store: Store,
    at: Tid,
    writable: WritableStore | undefined,
    options: ConnectionOptions,
  ) {
    this.name = store.name
    this.#at = at
    this.#writable = writable
    this.#oids = writable === undefined ? undefined : new OidLease(writable)
    this.zblkFormat = options.zblkFormat ?? 'auto'
    this.chunkBytesMax = options.chunkBytesMax ?? Infinity
    this.#onLeftOut = options.onLeftOut ?? (() => {})
    this.derivedBytesMax = Math.max(MINIMUM_DERIVED_BYTES, Math.floor(options.cacheSizeBytes / 4))
    this.#cache = new ObjectCache(options.cacheSizeBytes - this.derivedBytesMax)
    this.records = new Records(store, this.#pending, this)
    this.keptReads = new KeptReads(this.records)
    this.#loader = new Loader(this.records, this.#cache, writable !== undefined)
  }

  /** Opens a view. It is read-only if `at` is given or the store is read-only. */
  static async open(store: Store, options: ConnectionOptions): Promise<Connection> {
    const writable = options.at !== undefined || store.readOnly ? undefined : store
    return new Connection(store, options.at ?? (await store.lastTid()), writable, options)
  }

  get at(): Tid {
    return this.#at
  }

  /** The last committed transaction that the view has: `at`, unless a transaction is being stored in parts. */
  get committedAt(): Tid {
    return this.#committedAt ?? this.#at
  }

  /** Counts the parts that were stored: each may have replaced records that an earlier one had stored with the same tid. */
  get spills(): number {
    return this.#spills
  }

  get readOnly(): boolean {
    return this.#writable === undefined
  }

  // ---- objects

  /** The one object with an oid, a ghost if it is new here. @throws CorruptRecordError if it has another class. */
  get(oid: Oid, className: string): Persistent {
    const known = this.#cache.get(oid)
    if (known !== undefined) {
      if (className !== '' && known.className !== className)
        throw this.corrupt(oid, `it is a ${known.className}, but is referred to as a ${className}`)
      return known
    }
    const made = new (this.#classOf(className, oid))(this, oid, className)
    this.#cache.add(made)
    return made
  }

  /** The object that a reference leads to. @throws as {@link Connection.get}. */
  resolve(ref: Ref): Persistent {
    return this.get(ref.oid, ref.className)
  }

  known(oid: Oid): Persistent | undefined {
    return this.#cache.get(oid)
  }

  /** The root mapping, up to date. @throws CannotOpenError if the database has none yet. */
  async root(): Promise<PersistentMapping> {
    const root = this.get(ROOT_OID, PersistentMapping.CLASS_NAME)
    if (!(root instanceof PersistentMapping))
      throw this.corrupt(ROOT_OID, 'the root is not a PersistentMapping')
    try {
      await root.activate()
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error
      throw new CannotOpenError(`${this.name} has no root object: it was never set up`, {
        cause: error,
      })
    }
    return root
  }

  /** Creates the root mapping of a database that has none. */
  createRoot(): PersistentMapping {
    return this.#create(PersistentMapping, ROOT_OID, PersistentMapping.CLASS_NAME)
  }

  /** A new, empty, changed object with a new oid. @throws ReadOnlyError. */
  async create<T extends Persistent>(of: PersistentClass<T> & { readonly CLASS_NAME: string }): Promise<T> {
    const lease = this.#lease()
    for (let wait = lease.reserve(1); wait !== undefined; wait = lease.reserve(1)) await wait
    return this.#create(of, lease.take(1), of.CLASS_NAME)
  }

  /** As {@link Connection.create}, with an oid that no object has and that {@link Connection.passOid} was called for. */
  async createAs<T extends Persistent>(
    oid: Oid,
    of: PersistentClass<T> & { readonly CLASS_NAME: string },
  ): Promise<T> {
    const [found] = await this.records.load([oid])
    if (found !== undefined || this.known(oid) !== undefined)
      throw this.corrupt(oid, 'a new object has its oid')
    return this.#create(of, oid, of.CLASS_NAME)
  }

  /** From now on all new oids are higher than `oid`. */
  passOid(oid: Oid): Promise<void> {
    return this.#lease().pass(oid)
  }

  /** As {@link Connection.create}, by the name of the class. */
  async createNamed(className: string): Promise<Persistent> {
    return this.#create(this.#classOf(className, ROOT_OID), await this.newOids(1), className)
  }

  /** Objects created from now on have this oid or a higher one. */
  get nextOid(): Oid {
    return this.#lease().next
  }

  /** Gives up the oids that are allocated and not used, because another writer has written since. */
  forgetOids(): void {
    this.#lease().forget()
  }

  reserveOids(count: number): Promise<void> | undefined {
    return this.#lease().reserve(count)
  }

  createReserved(className: string): Persistent {
    return this.#create(this.#classOf(className, ROOT_OID), this.#lease().take(1), className)
  }

  /** The first of `count` consecutive new oids, all above earlier ones. @throws ReadOnlyError. */
  async newOids(count: number): Promise<Oid> {
    return await this.#lease().give(count)
  }

  load(object: Persistent): Promise<void> {
    return this.#loader.load(object)
  }

  loadMany(objects: readonly Persistent[]): Promise<void> {
    return this.#loader.loadMany(objects)
  }

  register(object: Persistent): void {
    this.#writer()
    this.#cache.holdChanging(object)
  }

  touch(object: Persistent): void {
    this.#cache.touch(object)
  }

  isHeld(object: Persistent): boolean {
    return this.#cache.isHeld(object)
  }

  release(object: Persistent): void {
    this.#cache.hold(object)
  }

  discard(object: Persistent): void {
    this.#ghost(object)
  }

  // ---- records without objects

  /**
   * Sets an object's record directly, without an object. May only be called from {@link Participant.prepare}.
   * @param base the transaction of the state that it replaces; TID_NONE for a new oid.
   */
  putRecord(oid: Oid, className: string, source: RecordSource, base: Tid): void {
    this.#writer()
    this.#pending.put(oid, className, source, base)
    this.#derived?.forget(oid)
    this.#cache.get(oid)?.invalidate()
  }

  /** Attaches the cache whose `forget` is called for changed records, replacing the previous one. */
  attach(derived: DerivedCache): void {
    this.#derived = derived
  }

  /** The error for a damaged record of this view. */
  corrupt(oid: Oid, reason: string): CorruptRecordError {
    return new CorruptRecordError(oid, this.#at, reason)
  }

  // ---- the transaction

  /** The bytes in memory that are not stored yet. */
  get dirtyBytes(): number {
    return this.#overlayBytes + this.#pending.sizeBytes
  }

  /** Whether a commit would store something: changes, prepared or not. */
  get hasPending(): boolean {
    const hasChanges = !this.#pending.isEmpty || this.#cache.hasChanged || this.#participants.size > 0
    return hasChanges || this.#committedAt !== undefined
  }

  /** The objects whose state the store does not have, each at least once. */
  *unstored(): Generator<{ readonly oid: Oid; readonly className: string }> {
    for (const { oid, className } of this.#cache.changed) yield { oid, className }
    for (const [oid, { className }] of this.#pending.unstored()) yield { oid, className }
  }

  /** The moments whose bytes pending records share. */
  get sharedMoments(): readonly Tid[] {
    const tids = new Set<Tid>()
    for (const [, { source }] of this.#pending.entries())
      if (source.body !== undefined && isSlice(source.body)) tids.add(source.body.tid)
    return [...tids]
  }

  get isCommitting(): boolean {
    return this.#pending.isCommitting
  }

  /** For participants: counts overlaid bytes. */
  account(bytes: number): void {
    this.#overlayBytes += bytes
  }

  /** For participants: asks to be prepared. @throws ReadOnlyError. */
  join(participant: Participant): void {
    this.#writer()
    this.#participants.add(participant)
    if (this.keptReads.isKeeping) this.#unloaded.add(participant)
  }

  /**
   * Loads what the changes made so far will need in {@link Connection.prepare}, which then does not read them from the
   * store. Changes may run meanwhile, and call {@link Connection.loadChanges} at their end.
   */
  async loadForPrepare(): Promise<void> {
    this.keptReads.keep()
    this.#cache.startHolding()
    this.#derived?.startHolding()
    this.#unloaded.clear()
    const turns = new Turns()
    for (const participant of this.#participants) {
      await turns.pass()
      await participant.load?.()
    }
  }

  /** Ends what {@link Connection.loadForPrepare} began: a prepare does so itself. */
  dropLoaded(): void {
    this.keptReads.drop()
    this.#cache.endHolding()
    this.#derived?.endHolding()
  }

  /** Loads what was changed since {@link Connection.loadForPrepare} will need. */
  async loadChanges(): Promise<void> {
    for (const participant of this.#unloaded) {
      this.#unloaded.delete(participant)
      await participant.loadChanges?.()
    }
  }

  /**
   * Serialises all changes into pending records. No change may run concurrently; reads may. If it fails, nothing is lost, and
   * it must be repeated before a commit.
   * @param afterParticipants called when all participants are prepared, to change objects accordingly.
   */
  async prepare(afterParticipants?: () => Promise<void>): Promise<void> {
    this.#torn = true
    this.keptReads.seal()
    const turns = new Turns()
    try {
      for (const participant of this.#participants) {
        await turns.pass()
        await participant.prepare()
        this.#participants.delete(participant)
      }
      await afterParticipants?.()
      for (const object of this.#cache.changed) {
        const turn = turns.pass()
        if (turn !== undefined) await turn
        this.#serialise(object)
      }
    } finally {
      this.dropLoaded()
    }
    this.#torn = false
  }

  /** Drops the pending records of new objects that nothing reaches any more. Between a prepare and its commit, while no change runs. */
  async dropUnreachable(): Promise<void> {
    this.invalidate(await dropUnreachable(this.#pending))
  }

  /** Drops the pending records of files that nothing refers to any more. Between a prepare and its commit. @throws StoreError */
  async dropFiles(files: readonly DroppedFile[]): Promise<void> {
    this.invalidate(await dropFiles(this.#pending, this.records, files))
  }

  /**
   * Commits what was prepared; resolves to the transaction's tid when it is on disk. If it fails, everything
   * stays pending and the next commit includes it. One at a time.
   * @param deletions objects to delete, with the transaction of their last state. They must not be pending.
   * @param origin how the changes came about.
   * @throws ConflictError, NoSpaceError, StoreError, ReadOnlyError.
   */
  async commit(
    about: Omit<NewTransaction, 'changes'> = {},
    deletions: readonly Omit<ObjectChange, 'record'>[] = [],
    origin: Origin = { writers: [], hasMessage: true },
  ): Promise<Tid> {
    const store = this.#writer()
    if (this.#torn) throw new Error('the last prepare has failed: repeat it before the commit')
    const pending = this.#pending.begin()
    const changes =
      deletions.length === 0
        ? pending
        : [...pending, ...deletions.map(({ oid, base }) => ({ oid, base, record: null }))]
    // The classes of deleted objects are not known here.
    const extension = deletions.length === 0 ? this.#pending.summary(origin) : undefined
    const oidsEnd = this.#lease().end
    let tid: Tid
    try {
      tid = await store.commit({ changes, ...(extension !== undefined && { extension }), ...about })
    } catch (error) {
      this.#pending.fail()
      throw error
    }
    this.#lease().stored(oidsEnd)
    this.#at = tid
    this.#committedAt = undefined
    for (const oid of this.#pending.succeed(tid)) this.#cache.get(oid)?.committedAs(tid)
    this.#pending.forgetSpilled()
    if (deletions.length > 0) this.invalidate(deletions.map(({ oid }) => oid))
    return tid
  }

  /**
   * Stores what was prepared as a part of the transaction, so that it takes no memory any more. When it fails, everything
   * stays pending. Not while a commit is in progress.
   * @throws as {@link Connection.commit}; NoSpaceError if the store takes transactions as a whole only.
   */
  async spill(): Promise<void> {
    const spilling = this.#spilling()
    if (this.#torn) throw new Error('the last prepare has failed: repeat it before the next part')
    if (this.#pending.isEmpty) return
    const changes = this.#pending.begin()
    let tid: Tid
    try {
      tid = await spilling.spill(changes)
    } catch (error) {
      this.#pending.fail()
      throw error
    }
    this.#moveToParts(tid)
    this.#pending.spilled()
    for (const oid of this.#pending.succeed(tid)) this.#cache.get(oid)?.committedAs(tid)
    // A record that is being read may have been replaced.
    this.#loader.invalidate()
  }

  /**
   * Stores records as a part of the transaction. The view shows them from {@link Connection.showStored} on, so that reads see all or none
   * of them. They must not be pending. @throws as {@link Connection.spill}
   */
  async storeRecords(changes: readonly ObjectChange[]): Promise<void> {
    this.#storedAs = await this.#spilling().spill(changes)
    this.#pending.spilledUnknown()
  }

  /** Shows the parts that {@link Connection.storeRecords} has stored. @param oids the objects in them. */
  showStored(oids: Iterable<Oid>): void {
    if (this.#storedAs === undefined) return
    this.#moveToParts(this.#storedAs)
    this.#storedAs = undefined
    this.invalidate(oids)
  }

  /** Drops every uncommitted change, and the parts that were stored. No commit may be in progress. @throws StoreError */
  async abort(): Promise<void> {
    if (this.#pending.isCommitting) throw new Error('a commit is in progress: wait for it before the abort')
    for (const participant of this.#participants) participant.abort()
    this.#participants.clear()
    for (const object of this.#cache.changed) this.#ghost(object)
    this.dropLoaded()
    this.invalidate(this.#pending.drop())
    this.#torn = false
    if (this.#committedAt === undefined && this.#storedAs === undefined) return
    this.#storedAs = undefined
    this.#pending.forgetSpilled()
    if (this.#committedAt !== undefined) {
      const spilledAs = this.#at
      this.#at = this.#committedAt
      this.#committedAt = undefined
      this.#spills++
      this.invalidate(this.#cache.ofTransaction(spilledAs))
      this.#derived?.clear()
    }
    await this.#writer().capabilities.spilling?.drop()
  }

  /** @throws NoSpaceError */
  #spilling(): Spilling {
    const { spilling } = this.#writer().capabilities
    if (spilling !== undefined) return spilling
    throw new NoSpaceError(`${this.name} stores no transaction that does not fit into memory`)
  }

  /** Moves the view to the transaction that is being stored in parts. */
  #moveToParts(tid: Tid): void {
    this.#committedAt ??= this.#at
    this.#at = tid
    this.#spills++
  }

  /** Turns objects that were changed elsewhere into ghosts. Their changes here are lost. */
  invalidate(oids: Iterable<Oid>): void {
    this.#loader.invalidate()
    for (const oid of oids) {
      this.#derived?.forget(oid)
      const object = this.#cache.get(oid)
      if (object !== undefined) this.#ghost(object)
    }
  }

  /** Moves the view to a later moment, at which these objects have changed. */
  advance(at: Tid, changed: Iterable<Oid>): void {
    this.#at = at
    this.invalidate(changed)
  }

  /**
   * Forgets the objects that were created and never stored, after an abort: another writer may have allocated their oids for other objects. No
   * object may be in use but ghosts of stored ones.
   * @returns the first of these oids; undefined if there are none.
   */
  forgetNew(): Oid | undefined {
    const from = this.#lease().unstoredFrom
    this.#loader.invalidate()
    this.#derived?.clear()
    // Afterwards no object refers to another one.
    for (const object of this.#cache.all()) this.#ghost(object)
    if (from === undefined) return undefined
    this.#cache.deleteFrom(from)
    return toOid(from)
  }

  statistics(): ConnectionStatistics {
    return {
      classes: this.#cache.counts(),
      cacheBytes: this.#cache.sizeBytes + (this.#derived?.sizeBytes ?? 0),
      cacheLimitBytes: this.#cache.limitBytes,
      hits: this.#cache.hits,
      misses: this.#loader.loads,
      overlayBytes: this.#overlayBytes,
      pendingBytes: this.#pending.sizeBytes,
    }
  }

  /** Serialises an object. A change that cannot be serialised is dropped, so that the others can be stored. */
  #serialise(object: Persistent): void {
    const { oid, className, tid } = object
    let record: Uint8Array
    try {
      record = encodeRecord(className, object.capture(), recordMemory)
    } catch (error) {
      this.#ghost(object)
      this.#onLeftOut({ oid, className, error })
      return
    }
    const isInSlab = record.buffer instanceof SharedArrayBuffer
    const source = isInSlab ? { head: NO_BYTES, body: [record] } : { head: record }
    this.#pending.put(oid, className, source, tid, inodeKindOf(object))
    if (isInSlab) slabs.release(record)
    object.settled()
    this.#cache.hold(object)
  }

  #create<T extends Persistent>(of: PersistentClass<T>, oid: Oid, className: string): T {
    this.#writer()
    const object = new of(this, oid, className)
    object.restore(undefined)
    this.#cache.add(object)
    this.#cache.hold(object)
    return object
  }

  #classOf(className: string, oid: Oid): PersistentClass {
    const known = classNamed(className)
    if (known === undefined)
      throw this.corrupt(oid, `it is referred to as a ${className || 'nothing'}, which is not a known class`)
    return known
  }

  #ghost(object: Persistent): void {
    object.invalidate()
    this.#cache.hold(object)
  }

  #writer(): WritableStore {
    if (this.#writable === undefined) throw this.#readOnlyError()
    return this.#writable
  }

  #lease(): OidLease {
    if (this.#oids === undefined) throw this.#readOnlyError()
    return this.#oids
  }

  #readOnlyError(): ReadOnlyError {
    return new ReadOnlyError(`${this.name} at ${formatTid(this.#at)} is read-only`)
  }
}

/** Records of at least this many bytes (of inodes with long attributes) are in slabs: as garbage they would take as much memory again. */
const SLAB_RECORD_BYTES = 16 << 10

const recordMemory = (length: number): Uint8Array =>
  length < SLAB_RECORD_BYTES ? Buffer.allocUnsafe(length) : slabs.take(length)
