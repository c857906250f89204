/**
 * Marks and sweeps a whole database, and counts what is left in the mark memory. What is done is committed from time to time, and an
 * interrupted run continues there: with the kept moments and the transaction that it began with, which keep more than later ones.
 */
import type { Edges, Mark, StoredRevision } from '../../stored-revisions.ts'
import { tid as toTid, type Tid } from '../../ids.ts'
import type { KeptMoments } from '../../kept-moments.ts'
import { MarkCounts } from './mark-counts.ts'
import type { MarkMemory, MarkState } from './mark-memory.ts'
import type { PackSource } from './pack-source.ts'
import { judge, type Judged } from './sweep.ts'

const BATCH_OBJECTS = 64

export interface FullMarkWork {
  readonly memory: MarkMemory
  readonly reader: PackSource
  readonly mark: Mark
  /** Absent: references are not counted. */
  readonly edges: Edges | undefined
  /** The phase is `marking` or `sweeping`. */
  readonly state: MarkState
  readonly kept: KeptMoments
  readonly upTo: Tid
  readonly drop: (dropped: readonly Judged[]) => Promise<void>
  /** Drops what {@link FullMarkWork.drop} has collected, and makes all drops durable. */
  readonly settle: () => Promise<void>
  /** How much work may be lost. */
  readonly commitMs: number
  readonly progress: (phase: 'mark' | 'sweep', done: number, total: number) => void
  readonly pause: () => Promise<void> | undefined
}

export class FullMark {
  readonly #work: FullMarkWork
  readonly #counts: MarkCounts | undefined
  #state: MarkState
  #committedAt = performance.now()

  constructor(work: FullMarkWork) {
    this.#work = work
    this.#state = work.state
    const { memory, reader, edges } = work
    this.#counts = edges === undefined ? undefined : new MarkCounts(memory, reader, edges)
  }

  /** @throws CorruptRecordError for a record whose references cannot be read, with nothing dropped. */
  async run(): Promise<void> {
    const { memory } = this.#work
    if (this.#state.phase === 'marking') {
      await this.#mark()
      await this.#commit({ ...this.#state, phase: 'sweeping', sweptTo: 0 })
    }
    await this.#sweep(this.#state.sweptTo ?? 0)
    await this.#countLate()
    const end = Math.floor(this.#state.bulkEnd / this.#work.reader.unitBytes)
    for (let unit = 0; unit < end;) {
      const lo = memory.units.find(false, unit, end)
      unit = memory.units.find(true, lo, end)
      memory.dead.addRange(lo, unit)
    }
  }

  async #mark(): Promise<void> {
    const { memory, reader, mark, kept, upTo, pause, progress } = this.#work
    const { nextOid } = await reader.totals()
    const sets = {
      reached: memory.reached,
      waiting: memory.waiting,
      onEdge: (edge: Parameters<MarkCounts['edge']>[0]) => this.#counts?.edge(edge, 1),
    }
    const read = (done: number): Promise<void> | undefined => {
      progress('mark', Math.min(done, nextOid), nextOid)
      const committed = this.#isDue() ? this.#commit(this.#state) : undefined
      return committed === undefined ? pause() : committed.then(pause)
    }
    const reached = await mark(reader, kept, upTo, read, sets)
    if (reached !== memory.reached) throw new TypeError('the mark has ignored the sets that it was to fill')
  }

  async #sweep(from: number): Promise<void> {
    const { memory, reader, kept, upTo, drop, settle, pause, progress } = this.#work
    const { nextOid } = await reader.totals()
    let oid = -1
    for await (const judged of judge(reader.entries(from), kept, memory.reached, upTo)) {
      let dropped: Judged[] = []
      for (const one of judged) {
        const { entry, stays } = one
        if (entry.oid !== oid) {
          oid = entry.oid
          if (this.#isDue()) {
            await drop(dropped)
            dropped = []
            await settle()
            await this.#commit({ ...this.#state, sweptTo: oid })
          }
        }
        if (stays) this.#count(entry)
        else dropped.push(one)
      }
      await drop(dropped)
      progress('sweep', Math.min(oid, nextOid), nextOid)
      await pause()
    }
    await settle()
  }

  #count({ oid, tid, unitLo, unitHi }: StoredRevision): void {
    const { memory, upTo } = this.#work
    if (tid > upTo) {
      if (!memory.reached.has(oid)) memory.late.add(oid)
      return
    }
    for (let unit = unitLo; unit < unitHi; unit++) memory.units.add(unit, 1)
  }

  /** Counts the references of objects that were not reached, and are kept. */
  async #countLate(): Promise<void> {
    const { memory, reader, upTo } = this.#work
    const { nextOid } = await reader.totals()
    for (let oid = memory.late.find(true, 0, nextOid); oid < nextOid;) {
      const oids: number[] = []
      for (; oid < nextOid && oids.length < BATCH_OBJECTS; oid = memory.late.find(true, oid + 1, nextOid))
        oids.push(oid)
      for await (const revisions of reader.revisions(oids, toTid(upTo)))
        await this.#counts?.references(revisions, 1)
    }
  }

  #isDue(): boolean {
    return performance.now() - this.#committedAt > this.#work.commitMs
  }

  #commit(state: MarkState): Promise<void> | undefined {
    const committed = this.#work.memory.commit(state)
    this.#state = state
    this.#committedAt = performance.now()
    return committed
  }
}
