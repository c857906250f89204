/**
 * Runs a pack, in whichever thread the store chooses. An interrupted pack keeps its progress, and the next one does the
 * rest. After a completed pack, one without anything to drop skips steps 1 to 3 (packed-note.ts).
 *
 * 1. *Mark*: the caller's module finds the reachable objects.
 * 2. *Sweep*: reads all revisions in order and drops those that no kept moment sees, and unreachable objects. A bitmap
 *    records the remaining bulk units.
 * 3. *Bulk*: frees bulk space (pack-bulk.ts).
 * 4. Drops transactions without a revision, and returns the index's free pages to the host.
 */
import type { PackPhase, PackReport } from '../../capabilities.ts'
import type { Mark } from '../../stored-revisions.ts'
import { tid as toTid, TID_NONE } from '../../ids.ts'
import { isKept, type KeptMoments } from '../../kept-moments.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import { formatKeptMoments } from '../kept-moments-note.ts'
import { packBulk } from './pack-bulk.ts'
import { isPacked, PACKED, VOID } from './packed-note.ts'
import type { PackSource } from './pack-source.ts'
import type { PackStep, PackStepResult } from './pack-steps.ts'
import { StepSize } from './step-size.ts'
import { judge } from './sweep.ts'

const DROP_MIN_ROWS = 32
const DROP_MAX_ROWS = 4096
const GIVE_BACK_MIN_PAGES = 64
const GIVE_BACK_MAX_PAGES = 8192

/** What a run calls: the writer's steps, progress, and pauses. */
export interface PackOutside {
  step(step: PackStep): Promise<PackStepResult>
  progress(phase: PackPhase, done: number, total: number): void
  pause(): Promise<void> | undefined
}

export interface PackRunParts {
  readonly reader: PackSource
  readonly kept: KeptMoments
  readonly mark: Mark
  readonly spareBytes: number
  readonly outside: PackOutside
}

export class PackRun {
  readonly #reader: PackSource
  readonly #kept: KeptMoments
  readonly #mark: Mark
  readonly #spareBytes: number
  readonly #outside: PackOutside
  readonly #dropSize = new StepSize(DROP_MIN_ROWS, DROP_MAX_ROWS)
  #revisionsDropped = 0
  #objectsDropped = 0
  #transactionsForgotten = 0
  #longestStepMs = 0

  constructor({ reader, kept, mark, spareBytes, outside }: PackRunParts) {
    this.#reader = reader
    this.#kept = kept
    this.#mark = mark
    this.#spareBytes = spareBytes
    this.#outside = outside
  }

  /** @throws CorruptRecordError for a record whose references cannot be read, with nothing dropped. */
  async run(): Promise<PackReport> {
    const start = performance.now()
    const bytesBefore = (await this.#reader.space()).totalBytes
    const bulkBytesFreed = (await isPacked(this.#reader, this.#kept)) ? 0 : await this.#drop()
    await this.#releasePages()
    await this.#step({ kind: 'settle' })
    return {
      bytesBefore,
      bytesAfter: (await this.#reader.space()).totalBytes,
      revisionsDropped: this.#revisionsDropped,
      objectsDropped: this.#objectsDropped,
      transactionsForgotten: this.#transactionsForgotten,
      bulkBytesFreed,
      durationMs: performance.now() - start,
      longestStepMs: this.#longestStepMs,
    }
  }

  /** Resolves to the bytes of bulk data freed. */
  async #drop(): Promise<number> {
    // An interrupted pack leaves a state that matches no set of kept moments.
    await this.#step({ kind: 'note', name: PACKED, value: VOID })
    const { bulkEnd } = await this.#reader.end()
    const live = new PagedBitmap()
    try {
      const upTo = await this.#markAndSweep(live)
      const bulkBytesFreed = await packBulk({
        reader: this.#reader,
        live,
        upTo,
        bulkEnd,
        step: step => this.#step(step),
        pause: done => {
          this.#outside.progress('bulk', done, bulkEnd)
          return this.#outside.pause()
        },
      })
      await this.#forgetTransactions()
      await this.#step({ kind: 'note', name: PACKED, value: formatKeptMoments(this.#kept) })
      return bulkBytesFreed
    } finally {
      live.close()
    }
  }

  async #step(step: PackStep): Promise<PackStepResult> {
    const result = await this.#outside.step(step)
    this.#longestStepMs = Math.max(this.#longestStepMs, result.durationMs)
    return result
  }

  /**
   * Drops revisions, and adds the units of the remaining ones to `live`. Resolves to the transaction up to which `live`
   * is complete.
   */
  async #markAndSweep(live: PagedBitmap): Promise<bigint> {
    const { lastTid, nextOid } = await this.#reader.totals()
    const reached = await this.#mark(this.#reader, this.#kept, lastTid, done => {
      this.#outside.progress('mark', Math.min(done, nextOid), nextOid)
      return this.#outside.pause()
    })
    try {
      await this.#sweep(reached, lastTid, nextOid, live)
      return lastTid
    } finally {
      reached.close()
    }
  }

  async #sweep(reached: PagedBitmap, markedUpTo: bigint, nextOid: number, live: PagedBitmap): Promise<void> {
    let oids: number[] = []
    let tids: bigint[] = []
    const drop = async (): Promise<void> => {
      const dropped = await this.#step({
        kind: 'drop',
        oids: Float64Array.from(oids),
        tids: BigInt64Array.from(tids),
      })
      this.#dropSize.adapt(dropped.durationMs)
      this.#revisionsDropped += dropped.rows
      oids = []
      tids = []
    }
    let lastUnreached = -1
    for await (const judged of judge(this.#reader.entries(), this.#kept, reached, markedUpTo)) {
      for (const { entry, stays, isUnreached } of judged) {
        if (stays) {
          live.addRange(entry.unitLo, entry.unitHi)
          continue
        }
        oids.push(entry.oid)
        tids.push(entry.tid)
        if (isUnreached && entry.oid !== lastUnreached) {
          lastUnreached = entry.oid
          this.#objectsDropped++
        }
        if (oids.length >= this.#dropSize.value) await drop()
      }
      this.#outside.progress('sweep', Math.min(judged.at(-1)?.entry.oid ?? 0, nextOid), nextOid)
      await this.#outside.pause()
    }
    if (oids.length > 0) await drop()
  }

  async #forgetTransactions(): Promise<void> {
    let after: bigint = TID_NONE
    for (;;) {
      const batch = await this.#reader.transactions(after, this.#kept.from)
      const last = batch.at(-1)
      if (last === undefined) return
      after = last.tid
      const unused = batch.filter(({ tid, isUsed }) => !isUsed && !isKept(this.#kept, toTid(tid)))
      if (unused.length > 0) {
        const tids = BigInt64Array.from(unused, ({ tid }) => tid)
        this.#transactionsForgotten += (await this.#step({ kind: 'forget', tids })).rows
      }
      await this.#outside.pause()
    }
  }

  async #releasePages(): Promise<void> {
    const size = new StepSize(GIVE_BACK_MIN_PAGES, GIVE_BACK_MAX_PAGES)
    const freeAtFirst = (await this.#reader.space()).freeBytes
    const total = Math.max(0, freeAtFirst - this.#spareBytes)
    for (let before = freeAtFirst; before > this.#spareBytes;) {
      const { durationMs } = await this.#step({ kind: 'give back', pages: size.value })
      size.adapt(durationMs)
      const free = (await this.#reader.space()).freeBytes
      // Commits may use free pages as fast as they are returned: then stop.
      if (free >= before) return
      before = free
      this.#outside.progress('give back', Math.min(total, freeAtFirst - free), total)
      await this.#outside.pause()
    }
  }
}
