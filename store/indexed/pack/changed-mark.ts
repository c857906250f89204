/**
 * Decides what a pack drops, from what has changed since the last one: the mark memory (mark-memory.ts) counts what was left then.
 *
 * 1. *Count* the revisions of later transactions: their units, and the references of their records.
 * 2. *Release*: a revision that was kept and is not any more was replaced by a revision in the time that was released: between a moment
 *    that was kept and the next one that still is. So only objects with a revision in that time are looked at.
 * 3. *Unreferenced*: an object to which no reference is left is dropped, with its references, and so on. A reference back (`weak`)
 *    keeps no object by itself: a directory and its inodes, which refer to each other, go together. But an object to which a kept
 *    one still refers back is kept, with all that it refers to, as a mark of all objects would keep it.
 * 4. *Cycles*: objects that are new, or lost a reference, and have others may refer to each other alone. A bounded number of objects
 *    around them is searched for that ({@link cycleObjects}); what is not found stays until a pack marks all objects. Filesystems have no
 *    such cycles.
 *
 * An object with a revision later than the last transaction counted stays, as in a full sweep (sweep.ts).
 *
 * Nothing is dropped here: the result is the plan in the mark memory, committed by the caller.
 */
import type { Edge, Edges, StoredRevision } from '../../stored-revisions.ts'
import { CorruptRecordError } from '../../errors.ts'
import { oid as toOid, ROOT_OID, TID_MAX, tid as toTid, type Tid } from '../../ids.ts'
import type { KeptMoments } from '../../kept-moments.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import { MarkCounts } from './mark-counts.ts'
import type { MarkMemory } from './mark-memory.ts'
import type { PackSource } from './pack-source.ts'
import { releasedSpans, type Span } from './released-spans.ts'
import { judge, type Judged } from './sweep.ts'

/** Objects looked at together. */
const BATCH_OBJECTS = 64
/** The objects that are searched for cycles, by the number of revisions that were added. */
const cycleObjects = (added: number): number => Math.min(200 + added, 1000 + added / 10)
/** An object with more revisions counts as kept in the search for cycles. */
const CYCLE_REVISIONS_MAX = 64

export interface ChangedMarkWork {
  readonly memory: MarkMemory
  readonly reader: PackSource
  readonly edges: Edges
  /** What the memory counts: the moments kept by the last pack, the last transaction, and the end of the bulk bytes. */
  readonly before: { readonly kept: KeptMoments; readonly upTo: Tid; readonly bulkEnd: number }
  readonly now: { readonly kept: KeptMoments; readonly upTo: Tid; readonly bulkEnd: number }
  /** Called between batches with the number of revisions looked at, and of those known so far. */
  readonly pause: (done: number, total: number) => Promise<void> | undefined
}

export class ChangedMark {
  readonly #work: ChangedMarkWork
  readonly #counts: MarkCounts
  /** Objects that may have no reference. */
  readonly #candidates = new PagedBitmap()
  /** Objects that are new or have lost a reference: they may have only those of a cycle. */
  readonly #unsettled = new PagedBitmap()
  /** Objects that are dropped. */
  readonly #dead = new PagedBitmap()
  /** The objects that have lost a reference since the last batch. */
  readonly #lost = new Set<number>()
  #added = 0
  #done = 0
  #total = 0

  constructor(work: ChangedMarkWork) {
    this.#work = work
    const { memory, reader, edges } = work
    this.#counts = new MarkCounts(memory, reader, edges, oid => this.#onLoss(oid))
  }

  /**
   * Resolves to the number of objects that are dropped.
   * @throws CorruptRecordError for a record whose references cannot be read; RangeError if the memory does not fit the database.
   */
  async plan(): Promise<number> {
    try {
      await this.#count()
      for (const span of releasedSpans(this.#work.before.kept, this.#work.now.kept)) await this.#release(span)
      await this.#dropUnreferenced()
      await this.#dropCycles()
      this.#findGaps()
      return this.#dead.count(0, await this.#oidEnd())
    } finally {
      this.#candidates.close()
      this.#unsettled.close()
      this.#dead.close()
    }
  }

  async #count(): Promise<void> {
    const { reader, before, now } = this.#work
    this.#total = (await reader.added(before.upTo, now.upTo)).revisions
    for await (const keys of reader.changes(before.upTo, now.upTo)) {
      const long: StoredRevision[] = []
      const isOld = await reader.exist(
        keys.map(({ oid }) => oid),
        before.upTo,
      )
      for (const [index, found] of (await reader.found(keys)).entries()) {
        const { oid, tid } = keys[index] ?? { oid: ROOT_OID, tid: TID_MAX }
        this.#candidates.add(oid)
        if (isOld[index] !== true) this.#unsettled.add(oid)
        this.#added++
        if (found === undefined) continue
        if (found instanceof CorruptRecordError)
          this.#counts.units(await this.#damagedData(oid, tid, found), 1)
        else if (this.#countFound(found.revision, found.start)) long.push(found.revision)
      }
      await this.#counts.references(long, 1)
      await this.#pause(keys.length)
    }
  }

  /** Returns whether the record's references are still to be counted, for which the whole of it is read. */
  #countFound(
    revision: StoredRevision,
    start: { readonly size: number; readonly bytes: Uint8Array } | undefined,
  ): boolean {
    const { memory, edges } = this.#work
    const { oid, tid } = revision
    this.#counts.units(revision, 1)
    if (start === undefined || memory.data.has(oid) || edges.isData(start.bytes)) return false
    if (start.bytes.length < start.size) return true
    for (const edge of edges.of(start.bytes, toOid(oid), toTid(tid))) this.#counts.edge(edge, 1)
    return false
  }

  /** A damaged row of data has no references that matter. @throws CorruptRecordError for another. */
  async #damagedData(oid: number, tid: bigint, error: CorruptRecordError): Promise<StoredRevision> {
    if (!this.#work.memory.data.has(oid)) throw error
    for await (const batch of this.#work.reader.revisions([oid], tid)) {
      const found = batch.find(revision => revision.tid === tid)
      if (found !== undefined) return found
    }
    throw error
  }

  async #release({ after, upTo }: Span): Promise<void> {
    const { reader, now } = this.#work
    const objects = new PagedBitmap()
    try {
      for await (const keys of reader.changes(after, upTo)) {
        for (const { oid } of keys) objects.add(oid)
        this.#total += keys.length
        await this.#pause(keys.length)
      }
      for await (const batch of membersOf(objects, await this.#oidEnd())) {
        // Later revisions are kept.
        const revisions = reader.revisions(batch, now.kept.from < now.upTo ? now.kept.from : now.upTo)
        for await (const judged of judge(revisions, now.kept, ALL_REACHED, TID_MAX)) {
          const dropped = judged.filter(({ stays, entry }) => !stays && !this.#isPlanned(entry))
          await this.#drop(
            dropped.map(({ entry }) => entry),
            false,
          )
          await this.#keepReferences(judged, new Set(dropped.map(({ entry }) => entry.oid)))
        }
        await this.#pause(0)
      }
    } finally {
      objects.close()
    }
  }

  #onLoss(oid: number): void {
    this.#candidates.add(oid)
    this.#lost.add(oid)
  }

  /** What the kept revisions of the objects refer to has not lost their references. */
  async #keepReferences(judged: readonly Judged[], oids: ReadonlySet<number>): Promise<void> {
    const { reader, edges } = this.#work
    const kept = judged.flatMap(({ stays, entry }) =>
      stays && !entry.isTombstone && oids.has(entry.oid) && this.#lost.size > 0 ? [entry] : [],
    )
    const records = kept.length > 0 ? await reader.records(kept) : []
    for (const [index, { oid, tid }] of kept.entries()) {
      const record = records[index]
      if (record instanceof CorruptRecordError) throw record
      if (record !== undefined)
        for (const edge of edges.of(record.bytes, toOid(oid), toTid(tid))) this.#lost.delete(edge.oid)
    }
    for (const oid of this.#lost) this.#unsettled.add(oid)
    this.#lost.clear()
  }

  #isPlanned({ oid, tid }: StoredRevision): boolean {
    return this.#work.memory.isPlanned(oid, tid)
  }

  async #drop(revisions: readonly StoredRevision[], isObject: boolean): Promise<void> {
    const { memory, now } = this.#work
    await this.#counts.references(revisions, -1)
    for (const revision of revisions) {
      const { oid, tid } = revision
      this.#counts.units(revision, -1)
      memory.plan(oid, tid, isObject)
      if (tid < now.kept.from) memory.forget(tid)
    }
  }

  /** Drops the candidates without a reference, and all that this leaves without one. */
  async #dropUnreferenced(): Promise<void> {
    const candidates = this.#candidates
    const end = await this.#oidEnd()
    const dropped = new PagedBitmap()
    try {
      // A dropped object makes candidates of those before it, too.
      for (let oid = candidates.find(true, 0, end); oid < end; oid = candidates.find(true, 0, end))
        for (; oid < end; oid = candidates.find(true, oid + 1, end)) {
          candidates.delete(oid)
          if (!this.#counts.isReferenced(oid) && (await this.#dropObject(oid))) dropped.add(oid)
          for (const lost of this.#lost) this.#unsettled.add(lost)
          this.#lost.clear()
          await this.#pause(0)
        }
      await this.#keepReferredBack(dropped)
    } finally {
      dropped.close()
    }
  }

  /** Resolves to whether the object had revisions and all are dropped. */
  async #dropObject(oid: number): Promise<boolean> {
    const { reader, now } = this.#work
    if (this.#dead.has(oid)) return false
    let isFound = false
    for await (const batch of reader.revisions([oid], TID_MAX)) {
      // It changed since: it is reached, or the next pack looks at it.
      if (!isFound && (batch[0]?.tid ?? 0n) > now.upTo) return false
      isFound = true
      await this.#drop(
        batch.filter(revision => !this.#isPlanned(revision)),
        true,
      )
    }
    if (isFound) this.#dead.add(oid)
    return isFound
  }

  /** Keeps the dropped objects to which a kept one refers back, and all to which they refer. */
  async #keepReferredBack(dropped: PagedBitmap): Promise<void> {
    const { memory } = this.#work
    for await (const oids of membersOf(dropped, await this.#oidEnd()))
      for (const oid of oids)
        if (memory.weak.get(oid) > 0 || memory.strong.get(oid) > 0) await this.#keep(oid)
  }

  async #keep(first: number): Promise<void> {
    const { memory, reader } = this.#work
    const kept = [first]
    for (let oid = kept.pop(); oid !== undefined; oid = kept.pop()) {
      if (!this.#dead.has(oid)) continue
      this.#dead.delete(oid)
      const tids = new Set(memory.unplanObject(oid))
      for await (const batch of reader.revisions([oid], TID_MAX)) {
        const again = batch.filter(({ tid }) => tids.has(tid))
        for (const revision of again) this.#counts.units(revision, 1)
        await this.#counts.references(again, 1, edge => void kept.push(edge.oid))
      }
    }
  }

  /** Drops what only cycles of references keep, as far as it is found. */
  async #dropCycles(): Promise<void> {
    const limit = cycleObjects(this.#added)
    const { memory, now } = this.#work
    const found = new Map<number, Around>()
    const waiting: number[] = []
    const end = await this.#oidEnd()
    const look = (oid: number): void => {
      if (
        oid === ROOT_OID ||
        found.has(oid) ||
        found.size >= limit ||
        this.#dead.has(oid) ||
        memory.data.has(oid)
      )
        return
      found.set(oid, { references: [], inside: 0, isKept: false })
      waiting.push(oid)
    }
    const unsettled = this.#unsettled
    for (let oid = unsettled.find(true, 0, end); oid < end; oid = unsettled.find(true, oid + 1, end)) {
      look(oid)
      if (found.size >= limit) break
    }
    for (let oid = waiting.shift(); oid !== undefined; oid = waiting.shift()) {
      const around = found.get(oid)
      if (around === undefined) continue
      const references = await this.#referencesOf(oid, now.upTo)
      around.isKept = references === undefined
      around.references = references ?? []
      for (const { oid: target, isWeak } of around.references) if (!isWeak) look(target)
      await this.#pause(0)
    }
    await this.#dropUnkept(found)
  }

  async #dropUnkept(found: ReadonlyMap<number, Around>): Promise<void> {
    const { memory } = this.#work
    for (const { references } of found.values())
      for (const { oid, isWeak } of references) {
        const target = found.get(oid)
        if (target !== undefined && !isWeak) target.inside++
      }
    const kept = [...found]
      .filter(([oid, { inside, isKept }]) => isKept || memory.strong.get(oid) > inside)
      .map(([oid]) => oid)
    const done = new Set(kept)
    for (let oid = kept.pop(); oid !== undefined; oid = kept.pop())
      for (const { oid: target } of found.get(oid)?.references ?? [])
        if (found.has(target) && !done.has(target)) {
          done.add(target)
          kept.push(target)
        }
    const dropped = new PagedBitmap()
    try {
      for (const oid of found.keys()) if (!done.has(oid) && (await this.#dropObject(oid))) dropped.add(oid)
      await this.#keepReferredBack(dropped)
    } finally {
      dropped.close()
    }
    // What they referred to.
    await this.#dropUnreferenced()
  }

  /**
   * The references of an object's revisions that are not planned to be dropped; undefined if it is kept in any case, or would take
   * too long.
   */
  async #referencesOf(oid: number, upTo: Tid): Promise<readonly Edge[] | undefined> {
    const { reader, edges } = this.#work
    const references: Edge[] = []
    for await (const batch of reader.revisions([oid], TID_MAX)) {
      if (batch.length > CYCLE_REVISIONS_MAX || batch.some(({ tid }) => tid > upTo)) return undefined
      const left = batch.filter(revision => !revision.isTombstone && !this.#isPlanned(revision))
      const records = await reader.records(left)
      for (const [index, { tid }] of left.entries()) {
        const record = records[index]
        if (record instanceof CorruptRecordError) throw record
        if (record !== undefined) references.push(...edges.of(record.bytes, toOid(oid), toTid(tid)))
      }
    }
    return references
  }

  /** Bulk bytes to which no revision ever pointed, as those of a commit that failed. */
  #findGaps(): void {
    const { memory, before, now } = this.#work
    const unitBytes = this.#work.reader.unitBytes
    const end = Math.floor(now.bulkEnd / unitBytes)
    for (let unit = Math.floor(before.bulkEnd / unitBytes); unit < end;) {
      const lo = memory.units.find(false, unit, end)
      unit = memory.units.find(true, lo, end)
      memory.dead.addRange(lo, unit)
    }
  }

  async #oidEnd(): Promise<number> {
    return (await this.#work.reader.totals()).nextOid
  }

  #pause(done: number): Promise<void> | undefined {
    this.#done += done
    return this.#work.pause(this.#done, Math.max(this.#done, this.#total))
  }
}

interface Around {
  references: readonly Edge[]
  /** References from the objects found. */
  inside: number
  isKept: boolean
}

const ALL_REACHED = { has: () => true }

/** The members of a set below `end`, in batches. */
async function* membersOf(set: PagedBitmap, end: number): AsyncGenerator<readonly number[]> {
  let batch: number[] = []
  for (let oid = set.find(true, 0, end); oid < end; oid = set.find(true, oid + 1, end)) {
    batch.push(oid)
    if (batch.length < BATCH_OBJECTS) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
