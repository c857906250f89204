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
 * - The database may be a branch too, which is read in the same way.
 */
import type { Capabilities, Checking, Spilling } from '../capabilities.ts'
import { isSlice, type ObjectChange, type RecordSlice } from '../changes.ts'
import { StoreError } from '../errors.ts'
import type { Tid } from '../ids.ts'
import { Polling } from '../polling.ts'
import { walHints } from '../sqlite/wal-hints.ts'
import type { SqliteStore, WritableSqliteStore } from '../sqlite/sqlite-store.ts'
import type { NewTransaction, OidRange, ReadOnlyStore, WritableStore } from '../store.ts'
import { BranchReader } from './branch-reader.ts'
import { BranchReads, type BranchParts } from './branch-reads.ts'

/** Copied bytes of one part of a transaction. */
const PART_BYTES = 32 << 20

/** A branch opened for reading; a writer may be active. */
export class BranchStore extends BranchReads implements ReadOnlyStore {
  readonly readOnly = true
  readonly capabilities: Capabilities

  constructor(own: SqliteStore, parts: BranchParts) {
    super(own, parts)
    const { checking } = own.capabilities
    this.capabilities = {
      ...this.shared(own.capabilities),
      watching: new Polling(() => this.lastTid(), undefined, walHints(own.name)),
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
