/**
 * The serialised records that are not committed yet.
 *
 *     put --> pending --begin--> under way --succeed--> gone (they are in the store)
 *                ^                   |
 *                +-------fail--------+   records put since replace those that failed
 *
 * A record's **base** is the transaction of the state that was changed. It does not change if the object is changed again
 * before a commit; if the object is part of the running commit, it is set when that commit ends.
 */
import { isSlice, type ObjectChange, type RecordSource } from '../../store/changes.ts'
import type { NewTransaction } from '../../store/store.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import { slabs } from '../../store/slabs.ts'
import { PersistentMapping } from './persistent-mapping.ts'
import { extensionOf, SummaryDraft, type InodeKind, type Origin } from './transaction-summary.ts'

/** A serialised state that the store does not have yet. */
export interface PendingRecord {
  readonly className: string
  readonly source: RecordSource
}

interface Entry extends PendingRecord {
  /** The kind of a mapping; undefined if unknown. */
  readonly kind: InodeKind | undefined
  /** Undefined while an earlier version is being committed; set to that commit's tid when it succeeds. */
  base: Tid | undefined
  readonly sizeBytes: number
}

/** Memory of an entry besides its bytes. */
const ENTRY_BYTES = 200

/** The inodes that are remembered for the summary of a transaction in parts: some MiB. A transaction with more has no summary. */
const SPILLED_KINDS_MAX = 100_000

export class PendingRecords {
  #pending = new Map<Oid, Entry>()
  #underWay: Map<Oid, Entry> | undefined
  #sizeBytes = 0
  /** The inodes in the parts of a transaction; undefined if there are too many, or one of which the kind is not known. */
  #spilledKinds: Map<Oid, InodeKind> | undefined = new Map()

  /** The bytes of records that are pending or being committed. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** False while records wait for the next commit. */
  get isEmpty(): boolean {
    return this.#pending.size === 0
  }

  get isCommitting(): boolean {
    return this.#underWay !== undefined
  }

  /** The newest record of an object that is not in the store yet. */
  get(oid: Oid): PendingRecord | undefined {
    return this.#pending.get(oid) ?? this.#underWay?.get(oid)
  }

  /**
   * Adds or replaces an object's record. `base` is ignored if the object is pending already.
   * @param kind the kind of a mapping, if known.
   */
  put(oid: Oid, className: string, source: RecordSource, base: Tid, kind?: InodeKind): void {
    const before = this.#pending.get(oid)
    const entry: Entry = {
      className,
      source,
      kind,
      base: before !== undefined ? before.base : this.#underWay?.has(oid) === true ? undefined : base,
      sizeBytes: sourceBytes(source),
    }
    hold(entry)
    this.#sizeBytes += entry.sizeBytes
    if (before !== undefined) this.#drop(before)
    this.#pending.set(oid, entry)
  }

  /** The records that wait for the next commit, each with the transaction of the state that it replaces. */
  entries(): Iterable<readonly [Oid, PendingRecord & { readonly base: Tid | undefined }]> {
    return this.#pending.entries()
  }

  /** All records that the store does not have: those that wait for the next commit, and those of the running one. */
  *unstored(): Generator<readonly [Oid, PendingRecord]> {
    yield* this.#pending.entries()
    for (const [oid, entry] of this.#underWay ?? []) if (!this.#pending.has(oid)) yield [oid, entry]
  }

  /** Drops the record of an object that waits for the next commit. */
  remove(oid: Oid): void {
    const entry = this.#pending.get(oid)
    if (entry === undefined) return
    this.#pending.delete(oid)
    this.#drop(entry)
  }

  /** Moves all pending records into a commit. Returns the changes for the store. */
  begin(): NewTransaction['changes'] {
    if (this.#underWay !== undefined) throw new Error('a commit is already in progress')
    this.#underWay = this.#pending
    this.#pending = new Map()
    const changes: ObjectChange[] = []
    for (const [oid, { base, source }] of this.#underWay) {
      if (base === undefined) throw new Error(`object ${oid} is pending on a commit that never settled`)
      changes.push({ oid, base, record: source })
    }
    return changes
  }

  /** The summary of the running commit and the parts before it; of its origin alone if it has a mapping of unknown kind. */
  summary(origin: Origin): Uint8Array {
    if (this.#spilledKinds === undefined) return extensionOf(origin)
    const draft = new SummaryDraft()
    for (const [oid, kind] of this.#spilledKinds) if (this.#underWay?.has(oid) !== true) draft.add(oid, kind)
    for (const [oid, { className, kind }] of this.#underWay ?? []) {
      if (className !== PersistentMapping.CLASS_NAME) continue
      if (kind === undefined) return extensionOf(origin)
      draft.add(oid, kind)
    }
    return draft.encode(origin)
  }

  /** The running commit is a part of a larger one: {@link PendingRecords.succeed} follows. */
  spilled(): void {
    for (const [oid, { className, kind }] of this.#underWay ?? []) {
      if (className !== PersistentMapping.CLASS_NAME) continue
      if (kind === undefined || (this.#spilledKinds?.size ?? 0) >= SPILLED_KINDS_MAX)
        this.#spilledKinds = undefined
      else if (kind !== 'other') this.#spilledKinds?.set(oid, kind)
    }
  }

  /** A part was stored without noting the kinds of its records. */
  spilledUnknown(): void {
    this.#spilledKinds = undefined
  }

  /** The parts belong to a transaction that has ended. */
  forgetSpilled(): void {
    this.#spilledKinds = new Map()
  }

  /** Call when the running commit has become transaction `tid`. Returns its objects. */
  succeed(tid: Tid): Iterable<Oid> {
    const done = this.#settle()
    for (const [oid, entry] of done) {
      this.#drop(entry)
      const later = this.#pending.get(oid)
      if (later !== undefined) later.base = tid
    }
    return done.keys()
  }

  /** Call when the running commit has failed: makes its records pending again. */
  fail(): void {
    const merged = this.#settle()
    for (const [oid, entry] of this.#pending) {
      const failed = merged.get(oid)
      if (failed !== undefined) {
        entry.base = failed.base
        this.#drop(failed)
      }
      merged.set(oid, entry)
    }
    this.#pending = merged
  }

  /** Drops all pending records. Returns their objects. */
  drop(): Iterable<Oid> {
    const dropped = this.#pending
    this.#pending = new Map()
    for (const entry of dropped.values()) this.#drop(entry)
    return dropped.keys()
  }

  #drop(entry: Entry): void {
    this.#sizeBytes -= entry.sizeBytes
    for (const piece of pieces(entry.source)) slabs.release(piece)
  }

  #settle(): Map<Oid, Entry> {
    const underWay = this.#underWay
    if (underWay === undefined) throw new Error('no commit is in progress')
    this.#underWay = undefined
    return underWay
  }
}

const pieces = ({ body }: RecordSource): readonly Uint8Array[] =>
  body === undefined || isSlice(body) ? [] : body

function hold({ source }: Entry): void {
  for (const piece of pieces(source)) slabs.hold(piece)
}

function sourceBytes(source: RecordSource): number {
  let bytes = ENTRY_BYTES + source.head.length + (source.tail?.length ?? 0)
  for (const piece of pieces(source)) bytes += piece.length
  return bytes
}
