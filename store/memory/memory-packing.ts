import type {
  Added,
  Mark,
  MarkModule,
  Measured,
  Measuring,
  OnMeasured,
  Packing,
  PackReport,
  PackWork,
  RevisionReader,
  Space,
} from '../capabilities.ts'
import type { Tid } from '../ids.ts'
import { measureAll, measureLeft } from '../indexed/pack/measure.ts'
import { PackRun } from '../indexed/pack/pack-run.ts'
import {
  RANGE_FIELDS,
  type EraseStep,
  type PackStep,
  type PackStepResult,
} from '../indexed/pack/pack-steps.ts'
import type { KeptMoments } from '../kept-moments.ts'
import { MemoryPackSource, type PackedMemory } from './memory-pack-source.ts'

/** Packs a database in memory in place: there is no thread, and each step runs between two commits. */
export class MemoryPacking implements Packing {
  readonly #database: PackedMemory
  readonly #queue: <T>(work: () => Promise<T>) => Promise<T>

  /** @param queue runs work after the commits that were asked for before. */
  constructor(database: PackedMemory, queue: <T>(work: () => Promise<T>) => Promise<T>) {
    this.#database = database
    this.#queue = queue
  }

  kept(): Promise<KeptMoments> {
    return Promise.resolve(this.#database.kept)
  }

  keep(moments: KeptMoments): Promise<void> {
    this.#database.kept = moments
    return Promise.resolve()
  }

  async pack({ kept, marker, spareBytes, onProgress, signal }: PackWork): Promise<PackReport> {
    signal?.throwIfAborted()
    const { mark } = (await import(marker.href)) as MarkModule
    const run = new PackRun({
      reader: new MemoryPackSource(this.#database),
      kept,
      mark,
      spareBytes,
      outside: {
        step: async step => {
          signal?.throwIfAborted()
          return await this.#queue(() => Promise.resolve(this.#step(step)))
        },
        progress: (phase, done, total) => onProgress({ phase, done, total }),
        pause: () => undefined,
      },
    })
    return await run.run()
  }

  #step(step: PackStep): PackStepResult {
    const start = performance.now()
    const done = this.#do(step)
    return { rows: 0, bytes: 0, isStale: false, ...done, durationMs: performance.now() - start }
  }

  #do(step: PackStep): Partial<PackStepResult> {
    const { index } = this.#database
    switch (step.kind) {
      case 'drop': {
        let rows = 0
        for (const [at, oid] of step.oids.entries()) if (index.drop(oid, step.tids[at] ?? 0n)) rows++
        return { rows }
      }
      case 'forget':
        for (const tid of step.tids) index.forget(tid)
        return { rows: step.tids.length }
      case 'erase':
        return this.#erase(step)
      case 'give back':
      case 'settle':
        return {}
      default:
        return step satisfies never
    }
  }

  #erase({ asOf, ranges }: EraseStep): Partial<PackStepResult> {
    const used = new MemoryPackSource(this.#database).usedSince(asOf)
    let bytes = 0
    for (let range = 0; range < ranges.length; range += RANGE_FIELDS) {
      const [lo = 0, hi = 0] = ranges.subarray(range)
      if (used.some(([from, to]) => from < hi && to > lo)) return { isStale: true }
    }
    for (let range = 0; range < ranges.length; range += RANGE_FIELDS) {
      const [lo = 0, hi = 0] = ranges.subarray(range)
      bytes += this.#database.bulk.release(lo, hi)
    }
    return { bytes }
  }
}

export class MemoryMeasuring implements Measuring {
  readonly #database: PackedMemory
  readonly #source: MemoryPackSource

  constructor(database: PackedMemory) {
    this.#database = database
    this.#source = new MemoryPackSource(database)
  }

  space(): Promise<Space> {
    return Promise.resolve(this.#source.space())
  }

  availableBytes(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  added(after: Tid, upTo: Tid): Promise<Added> {
    let storedBytes = 0
    let revisions = 0
    for (const { tid, stored, objects } of this.#database.index.transactionRows()) {
      if (tid <= after || tid > upTo) continue
      storedBytes += stored
      revisions += objects
    }
    return Promise.resolve({ storedBytes, revisions })
  }

  all(): Promise<Measured> {
    return measureAll(this.#source)
  }

  left(kept: KeptMoments, mark: Mark, onProgress?: OnMeasured): Promise<Measured> {
    return measureLeft(this.#source, kept, mark, onProgress)
  }

  reader(): RevisionReader {
    return this.#source
  }
}
