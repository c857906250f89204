/** The read side of a branch (branch-store.ts). */
import type { Capabilities, Measuring, Pinning } from '../capabilities.ts'
import { StoreError } from '../errors.ts'
import { TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import type { SqliteStore, WritableSqliteStore } from '../sqlite/sqlite-store.ts'
import type {
  ChangeSet,
  ReadableStore,
  ReadOnlyStore,
  Revision,
  RevisionPart,
  SliceRead,
  TransactionInfo,
  TransactionRange,
} from '../store.ts'
import { BranchCopying } from './branch-copying.ts'
import { branchKeys } from './branch-keys.ts'
import type { BranchNote } from './branch-note.ts'
import { BranchReader } from './branch-reader.ts'

/** The note of a branch that has tombstones. */
const TOMBSTONES = 'has tombstones'

/** The database or branch that a branch begins in, opened for reading. */
export type BranchParent = ReadOnlyStore &
  Required<Pick<ReadOnlyStore, 'identities' | 'isKept' | 'keptUpTo'>> & {
    note(name: string): Promise<string | undefined>
  }

export interface BranchParts {
  /** Closed with the branch. */
  readonly parent: BranchParent
  readonly note: BranchNote
}

/** The read side. */
export abstract class BranchReads implements ReadableStore {
  readonly isForeign = false
  abstract readonly capabilities: Capabilities
  protected readonly parent: BranchParent
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

  note(name: string): Promise<string | undefined> {
    return this.#own.note(name)
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
    const { pinning, measuring, dating, compressing, copying, lineage } = own
    const { copying: ofParent } = this.parent.capabilities
    return {
      branch: { base: this.base, database: this.parent.name },
      ...(pinning !== undefined && { pinning: this.#pinning(pinning) }),
      ...(measuring !== undefined && { measuring: this.#measuring(measuring) }),
      ...(copying !== undefined &&
        ofParent !== undefined && { copying: new BranchCopying(copying, ofParent, this.base) }),
      // A copy of a branch is no copy of its database, so it has the id of the branch.
      lineage,
      dating,
      compressing,
      ...branchKeys(this.name, this.parent),
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
      securedBytes: () => own.securedBytes(),
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
