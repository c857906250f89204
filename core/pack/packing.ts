/**
 * A pack, from one end to the other. Whatever it is interrupted by, what is done is done, and the next pack goes on
 * with what is left: nothing that it does depends on its having done the rest.
 *
 * 1. *Mark*: what can be reached (mark.ts).
 * 2. *Sweep*: reads all revisions in their order and drops those that no kept moment sees, and the objects that were
 *    not reached. What stays is noted in a bitmap of the log.
 * 3. *Log*: room in the log is given back (pack-log.ts).
 * 4. Transactions of which nothing is left are forgotten, and free pages go back to the host's filesystem.
 */
import { isKept, type KeptMoments } from '../../store/kept-moments.ts'
import type { PackReader } from '../../store/sqlite/pack/pack-reader.ts'
import type { PackStep, PackStepResult } from '../../store/sqlite/pack/pack-steps.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { TID_NONE, type Tid } from '../../store/ids.ts'
import { mark } from './mark.ts'
import type { PackPhase, PackReport } from './messages.ts'
import { addLive, packLog } from './pack-log.ts'
import { StepSize } from './step-size.ts'
import { judge } from './sweep.ts'

const DROP_MIN_ROWS = 32
const DROP_MAX_ROWS = 4096
const GIVE_BACK_MIN_PAGES = 64
const GIVE_BACK_MAX_PAGES = 8192
const PAUSE_ROWS = 1024

export interface PackOutside {
  step(step: PackStep): Promise<PackStepResult>
  progress(phase: PackPhase, done: number, total: number): void
  pause(): Promise<void> | undefined
}

export class Packing {
  readonly #reader: PackReader
  readonly #kept: KeptMoments
  readonly #spareBytes: number
  readonly #outside: PackOutside
  readonly #dropSize = new StepSize(DROP_MIN_ROWS, DROP_MAX_ROWS)
  #revisionsDropped = 0
  #objectsDropped = 0
  #transactionsForgotten = 0
  #longestStepMs = 0

  constructor(reader: PackReader, kept: KeptMoments, spareBytes: number, outside: PackOutside) {
    this.#reader = reader
    this.#kept = kept
    this.#spareBytes = spareBytes
    this.#outside = outside
  }

  /** @throws CorruptRecordError for a record that leads on and cannot be read; then nothing was dropped. */
  async run(): Promise<PackReport> {
    const start = performance.now()
    const bytesBefore = this.#reader.fileBytes().total
    const { logEnd } = this.#reader.totals()
    const live = new PagedBitmap()
    let logBytesFreed = 0
    try {
      const upTo = await this.#markAndSweep(live)
      logBytesFreed = await packLog({
        reader: this.#reader,
        live,
        upTo,
        logEnd,
        step: step => this.#step(step),
        pause: done => {
          this.#outside.progress('log', done, logEnd)
          return this.#outside.pause()
        },
      })
    } finally {
      live.close()
    }
    await this.#forgetTransactions()
    await this.#giveBack()
    await this.#step({ kind: 'settle' })
    return {
      bytesBefore,
      bytesAfter: this.#reader.fileBytes().total,
      revisionsDropped: this.#revisionsDropped,
      objectsDropped: this.#objectsDropped,
      transactionsForgotten: this.#transactionsForgotten,
      logBytesFreed,
      durationMs: performance.now() - start,
      longestStepMs: this.#longestStepMs,
    }
  }

  async #step(step: PackStep): Promise<PackStepResult> {
    const result = await this.#outside.step(step)
    this.#longestStepMs = Math.max(this.#longestStepMs, result.durationMs)
    return result
  }

  /**
   * Drops what does not stay, and notes in `live` where the rest lies in the log. Resolves to the transaction up to
   * which nothing is missed.
   */
  async #markAndSweep(live: PagedBitmap): Promise<Tid> {
    const { lastTid, nextOid } = this.#reader.totals()
    const reached = await mark(this.#reader, this.#kept, lastTid, done => {
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

  async #sweep(reached: PagedBitmap, markedUpTo: Tid, nextOid: number, live: PagedBitmap): Promise<void> {
    let oids: number[] = []
    let tids: bigint[] = []
    const drop = async (): Promise<void> => {
      const dropped = await this.#step({
        kind: 'drop',
        oids: Float64Array.from(oids),
        tids: BigInt64Array.from(tids),
      })
      this.#dropSize.took(dropped.durationMs)
      this.#revisionsDropped += dropped.rows
      oids = []
      tids = []
    }
    let lastUnreached = -1
    let count = 0
    for (const { entry, stays, isUnreached } of judge(
      this.#reader.entries(),
      this.#kept,
      reached,
      markedUpTo,
    )) {
      if (stays) {
        if (entry.pos !== undefined) addLive(live, entry.pos, entry.len)
      } else {
        oids.push(entry.oid)
        tids.push(entry.tid)
        if (isUnreached && entry.oid !== lastUnreached) {
          lastUnreached = entry.oid
          this.#objectsDropped++
        }
        if (oids.length >= this.#dropSize.value) await drop()
      }
      if (++count % PAUSE_ROWS === 0) {
        this.#outside.progress('sweep', Math.min(entry.oid, nextOid), nextOid)
        await this.#outside.pause()
      }
    }
    if (oids.length > 0) await drop()
  }

  async #forgetTransactions(): Promise<void> {
    let after: bigint = TID_NONE
    for (;;) {
      const batch = this.#reader.transactions(after, this.#kept.from)
      const last = batch.at(-1)
      if (last === undefined) return
      after = last.tid
      const unused = batch.filter(({ tid, isUsed }) => !isUsed && !isKept(this.#kept, tid as Tid))
      if (unused.length > 0) {
        const tids = BigInt64Array.from(unused, ({ tid }) => tid)
        this.#transactionsForgotten += (await this.#step({ kind: 'forget', tids })).rows
      }
      await this.#outside.pause()
    }
  }

  async #giveBack(): Promise<void> {
    const size = new StepSize(GIVE_BACK_MIN_PAGES, GIVE_BACK_MAX_PAGES)
    const { free: freeAtFirst } = this.#reader.fileBytes()
    const total = Math.max(0, freeAtFirst - this.#spareBytes)
    for (let before = freeAtFirst; before > this.#spareBytes;) {
      const { durationMs } = await this.#step({ kind: 'give back', pages: size.value })
      size.took(durationMs)
      const { free } = this.#reader.fileBytes()
      // Nothing more comes back: where somebody else uses up what is freed, it is no use to insist.
      if (free >= before) return
      before = free
      this.#outside.progress('give back', Math.min(total, freeAtFirst - free), total)
      await this.#outside.pause()
    }
  }
}
