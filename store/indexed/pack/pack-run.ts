/**
 * Runs a pack, in whichever thread the store chooses. What it does is remembered in a mark memory (mark-memory.ts), so that an
 * interrupted pack resumes, and the next one looks at what has changed since. After a completed pack, one without
 * anything to drop ends at once (packed-note.ts).
 *
 *     no valid memory --> marking --> sweeping --+
 *                                                +--> done   (drops carried out, bulk space freed, transactions forgotten)
 *     done --> planned --------------------------+
 *
 * | phase      | what is done                                                                                           |
 * |------------|--------------------------------------------------------------------------------------------------------|
 * | `marking`  | the caller's module finds the reachable objects (full-mark.ts)                                         |
 * | `sweeping` | all revisions are read in order; those that no kept moment sees, and unreachable objects, are dropped  |
 * | `planned`  | what to drop was decided from what had changed (changed-mark.ts), and is dropped                       |
 *
 * Then bulk space is freed (pack-bulk.ts), transactions without a revision are dropped, and the index's free pages are returned to the
 * host. A memory that contradicts the database, or has no room, is given up: then all objects are marked.
 */
import type { Awaitable } from '../../awaitable.ts'
import type { PackPhase, PackReport } from '../../capabilities.ts'
import type { MarkModule } from '../../stored-revisions.ts'
import { CorruptRecordError } from '../../errors.ts'
import { formatTid, parseTid, tid as toTid, TID_NONE, type Tid } from '../../ids.ts'
import { isKept, type KeptMoments } from '../../kept-moments.ts'
import { formatKeptMoments, parseKeptMoments } from '../kept-moments-note.ts'
import { ChangedMark } from './changed-mark.ts'
import { FullMark } from './full-mark.ts'
import {
  isMemoryError,
  MARK,
  newMarkId,
  type MarkMemory,
  type MarkState,
  type PlannedDrop,
} from './mark-memory.ts'
import { packBulk } from './pack-bulk.ts'
import { isPacked, isReleased, PACKED, VOID } from './packed-note.ts'
import type { PackSource } from './pack-source.ts'
import type { PackStep, PackStepResult } from './pack-steps.ts'
import { StepSize } from './step-size.ts'
import type { Judged } from './sweep.ts'

const DROP_MIN_ROWS = 32
const DROP_MAX_ROWS = 4096
const GIVE_BACK_MIN_PAGES = 64
const GIVE_BACK_MAX_PAGES = 8192
const FORGET_BATCH = 1024
const COMMIT_MS = 5000

/** What a run calls: the writer's steps, progress, and pauses. */
export interface PackOutside {
  step(step: PackStep): Promise<PackStepResult>
  progress(phase: PackPhase, done: number, total: number): void
  pause(): Promise<void> | undefined
}

export interface PackRunParts {
  readonly reader: PackSource
  readonly kept: KeptMoments
  readonly marker: MarkModule
  /** Called when it is needed; for one that is not kept if the other cannot be used. The run closes it. */
  readonly openMemory: (isTemporary: boolean) => Awaitable<MarkMemory>
  readonly spareBytes: number
  readonly outside: PackOutside
  /** How much of a mark of all objects may be lost if the process dies. */
  readonly commitMs?: number
}

/** What a mark memory counts. */
interface Counted {
  readonly kept: KeptMoments
  readonly upTo: Tid
  readonly bulkEnd: number
}

export class PackRun {
  readonly #reader: PackSource
  readonly #kept: KeptMoments
  readonly #marker: MarkModule
  readonly #openMemory: PackRunParts['openMemory']
  readonly #spareBytes: number
  readonly #outside: PackOutside
  readonly #commitMs: number
  readonly #dropSize = new StepSize(DROP_MIN_ROWS, DROP_MAX_ROWS)
  #toDrop: PlannedDrop[] = []
  #lastUnreached = -1
  #revisionsDropped = 0
  #objectsDropped = 0
  #transactionsForgotten = 0
  #bulkBytesFreed = 0
  #longestStepMs = 0

  constructor({ reader, kept, marker, openMemory, spareBytes, outside, commitMs = COMMIT_MS }: PackRunParts) {
    this.#commitMs = commitMs
    this.#reader = reader
    this.#kept = kept
    this.#marker = marker
    this.#openMemory = openMemory
    this.#spareBytes = spareBytes
    this.#outside = outside
  }

  /** @throws CorruptRecordError for a record whose references cannot be read, with nothing dropped. */
  async run(): Promise<PackReport> {
    const start = performance.now()
    const bytesBefore = (await this.#reader.space()).totalBytes
    if (!(await isPacked(this.#reader, this.#kept))) await this.#drop()
    await this.#releasePages()
    await this.#step({ kind: 'finish' })
    return {
      bytesBefore,
      bytesAfter: (await this.#reader.space()).totalBytes,
      revisionsDropped: this.#revisionsDropped,
      objectsDropped: this.#objectsDropped,
      transactionsForgotten: this.#transactionsForgotten,
      bulkBytesFreed: this.#bulkBytesFreed,
      durationMs: performance.now() - start,
      longestStepMs: this.#longestStepMs,
    }
  }

  async #drop(): Promise<void> {
    try {
      await this.#dropWith(await this.#openMemory(false))
    } catch (error) {
      if (!isMemoryError(error)) throw error
      this.#toDrop = []
      await this.#dropWith(await this.#openMemory(true))
    }
  }

  async #dropWith(memory: MarkMemory): Promise<void> {
    try {
      let state = await this.#validState(memory)
      if (state === undefined) await this.#packAll(memory, await this.#begin(memory))
      else if (state.phase === 'planned') await this.#carryOut(memory, state)
      else if (state.phase !== 'done') await this.#packAll(memory, state)
      // What an earlier pack had begun is done.
      state = memory.state()
      const kept = formatKeptMoments(this.#kept)
      if (state !== undefined && state.kept !== kept) {
        const planned = await this.#plan(memory, state)
        if (planned === undefined) await this.#packAll(memory, await this.#begin(memory))
        else await this.#carryOut(memory, planned)
      }
      await this.#step({ kind: 'note', name: PACKED, value: kept })
    } finally {
      memory.close()
    }
  }

  /** The state of the memory, if it is about this database, and about no less than what is kept now. */
  async #validState(memory: MarkMemory): Promise<MarkState | undefined> {
    const state = memory.state()
    if (state === undefined || this.#marker.edges === undefined) return undefined
    const note = await this.#reader.note(MARK)
    const { kept, upTo } = countedBy(state)
    // A plan is committed before its id is noted. If an older index was put back since, it lacks the plan's last transaction.
    const isPlan = state.phase === 'planned' && note === state.before && (await this.#hasTransaction(upTo))
    if (note !== state.id && !isPlan) return undefined
    const { lastTid } = await this.#reader.end()
    return upTo <= lastTid && isReleased(kept, this.#kept) ? state : undefined
  }

  async #hasTransaction(wanted: Tid): Promise<boolean> {
    const found = await this.#reader.transactions(wanted - 1n, wanted + 1n)
    return found.some(({ tid }) => tid === wanted)
  }

  /** Begins to mark all objects. */
  async #begin(memory: MarkMemory): Promise<MarkState> {
    const { lastTid, bulkEnd } = await this.#reader.end()
    const kept = formatKeptMoments(this.#kept)
    const state: MarkState = {
      id: newMarkId(),
      phase: 'marking',
      kept,
      upTo: formatTid(toTid(lastTid)),
      bulkEnd,
    }
    memory.clear()
    await memory.commit(state)
    // Without references there is nothing to remember.
    if (this.#marker.edges !== undefined) await this.#step({ kind: 'note', name: MARK, value: state.id })
    return state
  }

  async #packAll(memory: MarkMemory, state: MarkState): Promise<void> {
    const { kept, upTo } = countedBy(state)
    // An interrupted pack leaves a state that matches no set of kept moments.
    await this.#step({ kind: 'note', name: PACKED, value: VOID })
    const { mark, edges } = this.#marker
    await new FullMark({
      memory,
      reader: this.#reader,
      mark,
      edges,
      state,
      kept,
      upTo,
      drop: judged => this.#collect(judged),
      settle: () => this.#settleDrops(),
      commitMs: this.#commitMs,
      progress: (phase, done, total) => this.#outside.progress(phase, done, total),
      pause: () => this.#outside.pause(),
    }).run()
    await this.#free(memory, countedBy(state))
    await this.#forgetTransactions(kept, TID_NONE)
    await this.#complete(memory, state)
  }

  /** Decides what to drop; undefined if the memory does not fit the database. */
  async #plan(memory: MarkMemory, state: MarkState): Promise<MarkState | undefined> {
    const { edges } = this.#marker
    if (edges === undefined) return undefined
    const { lastTid, bulkEnd } = await this.#reader.end()
    const now = { kept: this.#kept, upTo: toTid(lastTid), bulkEnd }
    const pause = (done: number, total: number): Promise<void> | undefined => {
      this.#outside.progress('mark', done, total)
      return this.#outside.pause()
    }
    const work = { memory, reader: this.#reader, edges, before: countedBy(state), now, pause }
    try {
      this.#objectsDropped += await new ChangedMark(work).plan()
    } catch (error) {
      if (!(error instanceof CorruptRecordError || error instanceof RangeError)) throw error
      memory.rollBack()
      return undefined
    }
    const { kept: before } = countedBy(state)
    for (const moment of before.earlier) if (!isKept(now.kept, moment)) memory.forget(moment)
    const planned: MarkState = {
      id: newMarkId(),
      before: state.id,
      phase: 'planned',
      kept: formatKeptMoments(now.kept),
      upTo: formatTid(now.upTo),
      bulkEnd,
      forgetFrom: formatTid(before.from),
    }
    await memory.commit(planned)
    return planned
  }

  async #carryOut(memory: MarkMemory, state: MarkState): Promise<void> {
    await this.#step({ kind: 'note', name: MARK, value: state.id })
    await this.#step({ kind: 'note', name: PACKED, value: VOID })
    const total = memory.countDrops()
    let done = 0
    for (let after: PlannedDrop | undefined; ;) {
      const drops = memory.drops(after, this.#dropSize.value)
      after = drops.at(-1)
      if (after === undefined) break
      this.#toDrop.push(...drops)
      await this.#dropCollected()
      done += drops.length
      this.#outside.progress('sweep', done, total)
      await this.#outside.pause()
    }
    const counted = countedBy(state)
    await this.#free(memory, counted)
    for (let after: bigint = TID_NONE; ;) {
      const tids = memory.forgotten(after, FORGET_BATCH)
      const last = tids.at(-1)
      if (last === undefined) break
      after = last
      for (const tid of tids) await this.#forgetTransactions(counted.kept, toTid(tid - 1n), toTid(tid + 1n))
    }
    const first = parseTid(state.forgetFrom ?? '') ?? TID_NONE
    await this.#forgetTransactions(counted.kept, first === TID_NONE ? first : toTid(first - 1n))
    await this.#complete(memory, state)
  }

  async #free(memory: MarkMemory, { upTo, bulkEnd }: Counted): Promise<void> {
    this.#bulkBytesFreed += await packBulk({
      reader: this.#reader,
      units: memory.units,
      dead: memory.dead,
      upTo,
      bulkEnd,
      step: step => this.#step(step),
      pause: done => {
        this.#outside.progress('bulk', done, bulkEnd)
        return this.#outside.pause()
      },
    })
  }

  async #complete(memory: MarkMemory, state: MarkState): Promise<void> {
    await this.#step({ kind: 'sync' })
    memory.endPack()
    await memory.commit({ ...state, phase: 'done' })
  }

  async #step(step: PackStep): Promise<PackStepResult> {
    const result = await this.#outside.step(step)
    this.#longestStepMs = Math.max(this.#longestStepMs, result.durationMs)
    return result
  }

  async #collect(judged: readonly Judged[]): Promise<void> {
    for (const { entry, isUnreached } of judged) {
      this.#toDrop.push({ oid: entry.oid, tid: entry.tid })
      if (isUnreached && entry.oid !== this.#lastUnreached) {
        this.#lastUnreached = entry.oid
        this.#objectsDropped++
      }
      if (this.#toDrop.length >= this.#dropSize.value) await this.#dropCollected()
    }
  }

  async #dropCollected(): Promise<void> {
    const dropped = await this.#step({
      kind: 'drop',
      oids: Float64Array.from(this.#toDrop, ({ oid }) => oid),
      tids: BigInt64Array.from(this.#toDrop, ({ tid }) => tid),
    })
    this.#toDrop = []
    this.#dropSize.adapt(dropped.durationMs)
    this.#revisionsDropped += dropped.rows
  }

  async #settleDrops(): Promise<void> {
    if (this.#toDrop.length > 0) await this.#dropCollected()
    await this.#step({ kind: 'sync' })
  }

  /** Forgets transactions of `(after, before)` that have no revision and are not kept. */
  async #forgetTransactions(kept: KeptMoments, from: Tid, before = kept.from): Promise<void> {
    for (let after: bigint = from; ;) {
      const batch = await this.#reader.transactions(after, before)
      const last = batch.at(-1)
      if (last === undefined) return
      after = last.tid
      const unused = batch.filter(({ tid, isUsed }) => !isUsed && !isKept(kept, toTid(tid)))
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

const countedBy = ({ kept, upTo, bulkEnd }: MarkState): Counted => ({
  kept: parseKeptMoments(kept),
  upTo: parseTid(upTo) ?? TID_NONE,
  bulkEnd,
})
