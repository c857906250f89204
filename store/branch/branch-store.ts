/**
 * A branch as a store: what was changed in the branch is in a database of its own, everything else is read from the database that it
 * is a branch of, as of the base.
 *
 * - All transactions of the branch are later than the base. Its first one is made with it (create-branch.ts).
 * - New objects get oids that no object of the base has; the database may later give the same ones to other objects, which are not in the
 *   base and so not in the branch.
 * - A slice of a record of the base would point to bytes of another log, so its bytes are copied. If they exceed
 *   {@link PART_BYTES}, the transaction is stored in parts (`Spilling`).
 * - A tombstone in the branch hides an object of the base. Only a branch that has tombstones pays for telling them from objects that
 *   the branch has not changed.
 * - A branch is not packed: its history stays until it is deleted.
 */
import type { Capabilities, Checking, Measuring, Pinning, Spilling } from '../capabilities.ts'
import { isSlice, type ObjectChange, type RecordSlice } from '../changes.ts'
import { StoreError } from '../errors.ts'
import { TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import { Polling } from '../polling.ts'
import type { SqliteStore, WritableSqliteStore } from '../sqlite/sqlite-store.ts'
import type {
  ChangeSet,
  NewTransaction,
  OidRange,
  ReadableStore,
  ReadOnlyStore,
  Revision,
  RevisionPart,
  SliceRead,
  TransactionInfo,
  TransactionRange,
  WritableStore,
} from '../store.ts'
import type { BranchNote } from './branch-note.ts'
import { BranchReader } from './branch-reader.ts'

/** Copied bytes of one part of a transaction. */
const PART_BYTES = 32 << 20
/** The note of a branch that has tombstones. */
const TOMBSTONES = 'has tombstones'

export interface BranchParts {
  /** The database that it is a branch of. Closed with the branch. */
  readonly parent: SqliteStore
  readonly note: BranchNote
}

/** The read side. */
abstract class BranchReads implements ReadableStore {
  readonly isForeign = false
  abstract readonly capabilities: Capabilities
  protected readonly parent: SqliteStore
  protected readonly base: Tid
  protected readonly firstOid: number
  readonly #own: SqliteStore | WritableSqliteStore
  #hasTombstones: boolean | undefined

  constructor(own: SqliteStore | WritableSqliteStore, { parent, note }: BranchParts) {
    this.#own = own
    this.parent = parent
    this.base = note.base
    this.firstOid = note.firstOid
  }

  get name(): string {
    return this.#own.name
  }

  async load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    if (at <= this.base) return await this.parent.load(oids, at)
    const found = [...(await this.#own.load(oids, at))]
    const missing = await this.#notIn(found, oids, at)
    if (missing.length === 0) return found
    const wanted = missing.flatMap(index => oids[index] ?? [])
    for (const [place, revision] of (await this.parent.load(wanted, this.base)).entries())
      found[missing[place] ?? 0] = revision
    return found
  }

  async loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    if (at <= this.base) return await this.parent.loadPart(oid, at, off, len, into)
    const found = await this.#own.loadPart(oid, at, off, len, into)
    if (found !== undefined || (await this.#isRemoved(oid, at))) return found
    return await this.parent.loadPart(oid, this.base, off, len, into)
  }

  async readSlices(reads: readonly SliceRead[]): Promise<void> {
    const own = reads.filter(({ tid }) => tid > this.base)
    if (own.length > 0) await this.#own.readSlices(own)
    if (own.length < reads.length) await this.parent.readSlices(reads.filter(({ tid }) => tid <= this.base))
  }

  async identities(oids: readonly Oid[], at: Tid): Promise<readonly (string | undefined)[]> {
    const ofParent = async (wanted: readonly Oid[], moment: Tid): Promise<readonly (string | undefined)[]> =>
      (await this.parent.identities(wanted, moment)).map(text => (text === undefined ? text : `base ${text}`))
    if (at <= this.base) return await ofParent(oids, at)
    const found = [...(await this.#own.identities(oids, at))]
    const missing = await this.#notIn(found, oids, at)
    const wanted = missing.flatMap(index => oids[index] ?? [])
    for (const [place, text] of (await ofParent(wanted, this.base)).entries())
      found[missing[place] ?? 0] = text
    return found
  }

  async revisions(
    oid: Oid,
    { after = TID_NONE, upTo = TID_MAX }: { readonly after?: Tid; readonly upTo?: Tid } = {},
  ): Promise<readonly Tid[]> {
    const own = upTo > this.base ? await this.#own.revisions(oid, { after, upTo }) : []
    if (after >= this.base) return own
    return [...own, ...(await this.parent.revisions(oid, { after, upTo: this.#upToBase(upTo) }))]
  }

  lastTid(): Promise<Tid> {
    return this.#own.lastTid()
  }

  async isKept(at: Tid): Promise<boolean> {
    return at >= this.base || (await this.parent.isKept(at))
  }

  async keptUpTo(at: Tid): Promise<Tid | undefined> {
    return at >= this.base ? at : await this.parent.keptUpTo(at)
  }

  async *transactions(range: TransactionRange = {}): AsyncGenerator<TransactionInfo> {
    const { after = TID_NONE, upTo = TID_MAX, reverse = false, limit = Infinity } = range
    const parts = [
      { store: this.parent, lo: after, hi: this.#upToBase(upTo) },
      { store: this.#own, lo: after, hi: upTo },
    ]
    let left = limit
    for (const { store, lo, hi } of reverse ? parts.toReversed() : parts) {
      if (lo >= hi || left <= 0) continue
      const isBounded = Number.isFinite(left)
      for await (const info of store.transactions({
        after: lo,
        upTo: hi,
        reverse,
        ...(isBounded && { limit: left }),
      })) {
        yield info
        left--
      }
    }
  }

  async *changes(after: Tid, upTo: Tid = TID_MAX): AsyncGenerator<ChangeSet> {
    if (after < this.base) yield* this.parent.changes(after, this.#upToBase(upTo))
    if (upTo > this.base) yield* this.#own.changes(after, upTo)
  }

  async close(): Promise<void> {
    try {
      await this.#own.close()
    } finally {
      await this.parent.close()
    }
  }

  protected reader(own: Measuring): BranchReader {
    const { measuring } = this.parent.capabilities
    if (measuring === undefined) throw new StoreError(`${this.parent.name} cannot be measured`)
    return new BranchReader(own.reader(), measuring.reader(), this.base)
  }

  /** The capabilities that both kinds of branches have. */
  protected shared(own: Capabilities): Capabilities {
    const { pinning, measuring, dating, compressing, encrypting } = own
    return {
      branch: { base: this.base, database: this.parent.name },
      ...(pinning !== undefined && { pinning: this.#pinning(pinning) }),
      ...(measuring !== undefined && { measuring: this.#measuring(measuring) }),
      dating,
      compressing,
      ...(encrypting !== undefined && { encrypting }),
    }
  }

  protected async noteTombstones(): Promise<void> {
    if (await this.#mayHide()) return
    await this.#own.setNote(TOMBSTONES, '1')
    this.#hasTombstones = true
  }

  #pinning(own: Pinning): Pinning {
    return {
      pin: async moments => {
        const isPinned = await own.pin(moments.filter(moment => moment > this.base))
        const before = moments.filter(moment => moment <= this.base)
        return (await this.parent.capabilities.pinning?.pin(before)) === true && isPinned
      },
      pinned: () => own.pinned(),
    }
  }

  /** What the branch takes itself. */
  #measuring(own: Measuring): Measuring {
    return {
      space: () => own.space(),
      availableBytes: () => own.availableBytes(),
      added: (after, upTo) => own.added(after, upTo),
      sums: () => own.sums(),
      all: () => own.all(),
      left: () => Promise.reject(notPacked(this.name)),
      reader: () => this.reader(own),
    }
  }

  /** The places in a list of what was found in the branch, in which objects of the base are to be looked up. */
  async #notIn(found: readonly unknown[], oids: readonly Oid[], at: Tid): Promise<readonly number[]> {
    const missing = [...found.keys()].filter(index => found[index] === undefined)
    if (missing.length === 0 || !(await this.#mayHide())) return missing
    const unknown: number[] = []
    for (const index of missing) {
      const oid = oids[index]
      const known = oid === undefined ? [] : await this.#own.revisions(oid, { upTo: at })
      if (known.length === 0) unknown.push(index)
    }
    return unknown
  }

  /** Whether an object that the branch does not have was removed in it. */
  async #isRemoved(oid: Oid, at: Tid): Promise<boolean> {
    return (await this.#mayHide()) && (await this.#own.revisions(oid, { upTo: at })).length > 0
  }

  /** Whether the branch has tombstones. A reader asks again, as the writer may have made the first one. */
  async #mayHide(): Promise<boolean> {
    if (this.#hasTombstones === true || (this.#hasTombstones === false && !this.#own.readOnly))
      return this.#hasTombstones
    return (this.#hasTombstones = (await this.#own.note(TOMBSTONES)) !== undefined)
  }

  #upToBase(upTo: Tid): Tid {
    return upTo < this.base ? upTo : this.base
  }
}

const notPacked = (name: string): StoreError =>
  new StoreError(`${name} is a branch, which keeps its history until it is deleted`, {
    code: 'not-on-branch',
  })

/** A branch opened for reading; a writer may be active. */
export class BranchStore extends BranchReads implements ReadOnlyStore {
  readonly readOnly = true
  readonly capabilities: Capabilities

  constructor(own: SqliteStore, parts: BranchParts) {
    super(own, parts)
    const { checking } = own.capabilities
    this.capabilities = {
      ...this.shared(own.capabilities),
      watching: new Polling(() => this.lastTid()),
      ...(checking !== undefined && { checking: this.#checking(checking) }),
    }
  }

  /** The storage of the base is checked with its own database. */
  #checking(own: Checking): Checking {
    const parent = this.parent.capabilities.checking
    return {
      storage: options => own.storage(options),
      reader: () => {
        if (parent === undefined) throw new StoreError(`${this.parent.name} cannot be checked`)
        return new BranchReader(own.reader(), parent.reader(), this.base)
      },
      isAccepted: async (oid, tid) => (await (tid > this.base ? own : parent)?.isAccepted(oid, tid)) ?? false,
      accept: losses => own.accept(losses),
      beginRepair: () =>
        Promise.reject(
          new StoreError(`${this.name} is a branch, which cannot be repaired`, { code: 'not-on-branch' }),
        ),
    }
  }
}

/** A branch opened for writing, which holds its own lock. */
export class WritableBranchStore extends BranchReads implements WritableStore {
  readonly readOnly = false
  readonly capabilities: Capabilities
  readonly #own: WritableSqliteStore
  readonly #spilling: Spilling
  /** Whether the caller has stored parts of the next transaction. */
  #isSpilled = false
  /** Whether this store has stored parts of the transaction that is being committed. */
  #copies = false
  #oids: Promise<unknown> | undefined
  /** Settles when the commits and parts called for so far have ended: they run one at a time, in the order of the calls. */
  #turn: Promise<unknown> = Promise.resolve()
  #isClosed = false

  /** @throws StoreError if the store cannot store transactions in parts. */
  constructor(own: WritableSqliteStore, parts: BranchParts) {
    super(own, parts)
    this.#own = own
    const { intents, presence, spilling } = own.capabilities
    if (spilling === undefined) throw new StoreError(`${own.name} cannot have a branch`)
    this.#spilling = spilling
    this.capabilities = {
      ...this.shared(own.capabilities),
      intents,
      presence,
      spilling: {
        spill: (changes, tid) =>
          this.#inTurn(async () => {
            this.#isSpilled = true
            return await spilling.spill(await this.#stored(changes, tid), tid)
          }),
        drop: () =>
          this.#inTurn(async () => {
            await spilling.drop()
            this.#isSpilled = false
          }),
      },
    }
  }

  async allocateOids(count: number): Promise<OidRange> {
    this.#oids ??= this.#passOids()
    await this.#oids
    return await this.#own.allocateOids(count)
  }

  commit(transaction: NewTransaction): Promise<Tid> {
    return this.#inTurn(() => this.#commit(transaction))
  }

  override async close(): Promise<void> {
    this.#isClosed = true
    await this.#turn
    await super.close()
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#isClosed) return Promise.reject(new StoreError(`${this.name} is closed`))
    const running = this.#turn.then(work)
    this.#turn = running.catch(() => undefined)
    return running
  }

  async #commit(transaction: NewTransaction): Promise<Tid> {
    const wasSpilled = this.#isSpilled
    let isDone = false
    try {
      const changes = await this.#stored(transaction.changes, transaction.tid)
      const tid = await this.#own.commit({ ...transaction, changes })
      this.#isSpilled = false
      isDone = true
      return tid
    } finally {
      // The caller drops its own parts.
      if (!isDone && this.#copies && !wasSpilled) await this.#spilling.drop().catch(() => undefined)
      this.#copies = false
    }
  }

  /** Skips the oids of the base. */
  async #passOids(): Promise<void> {
    const { first } = await this.#own.allocateOids(0)
    if (first < this.firstOid) await this.#own.allocateOids(this.firstOid - first)
  }

  /** Changes as the branch can store them. If that takes much memory, all but the last ones are stored already, as parts. */
  async #stored(changes: readonly ObjectChange[], tid: Tid | undefined): Promise<readonly ObjectChange[]> {
    if (changes.some(({ record }) => record === null)) await this.noteTombstones()
    if (!changes.some(change => this.#sliceOfBase(change) !== undefined)) return changes
    let part: ObjectChange[] = []
    let bytes = 0
    for (const change of changes) {
      const slice = this.#sliceOfBase(change)
      if (slice === undefined || change.record === null) {
        part.push(change)
        continue
      }
      const into = Buffer.allocUnsafeSlow(slice.len)
      await this.parent.readSlices([{ oid: slice.oid, tid: slice.tid, off: slice.off, into }])
      part.push({ ...change, record: { ...change.record, body: [into] } })
      bytes += slice.len
      if (bytes < PART_BYTES) continue
      this.#copies = true
      await this.#spilling.spill(part, tid)
      part = []
      bytes = 0
    }
    return part
  }

  #sliceOfBase({ record }: ObjectChange): RecordSlice | undefined {
    const body = record?.body
    return body !== undefined && isSlice(body) && body.tid <= this.base ? body : undefined
  }
}
