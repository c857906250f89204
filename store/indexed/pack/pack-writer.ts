/** Runs the steps of a pack (pack-steps.ts) on the side that writes, each between two commits. */
import type { BulkRange, BulkWriter } from '../bulk.ts'
import type { IndexPacker } from '../index-scan.ts'
import { RANGE_FIELDS, type EraseStep, type PackStep, type PackStepResult } from './pack-steps.ts'

type Done = Partial<Omit<PackStepResult, 'durationMs'>>

export class PackWriter {
  readonly #index: IndexPacker
  readonly #bulk: Pick<BulkWriter, 'release'>
  /** Whether a drop, possibly of an earlier process, may not be durable yet. */
  #isUnsynced = true

  constructor(index: IndexPacker, bulk: Pick<BulkWriter, 'release'>) {
    this.#index = index
    this.#bulk = bulk
  }

  /** No commit and no other step may be in progress. */
  async run(step: PackStep): Promise<PackStepResult> {
    const start = performance.now()
    const done = await this.#do(step)
    return { rows: 0, bytes: 0, isStale: false, ...done, durationMs: performance.now() - start }
  }

  async #do(step: PackStep): Promise<Done> {
    switch (step.kind) {
      case 'drop':
        this.#isUnsynced = true
        return { rows: await this.#index.drop(step.oids, step.tids) }
      case 'forget':
        this.#isUnsynced = true
        await this.#index.forget(step.tids)
        return { rows: step.tids.length }
      case 'erase':
        return await this.#erase(step)
      case 'give back':
        this.#isUnsynced = true
        await this.#index.releasePages(step.pages)
        return {}
      case 'sync':
        await this.#index.makeDurable()
        this.#isUnsynced = false
        return {}
      case 'finish':
        await this.#index.finish()
        return {}
      case 'note':
        await this.#index.setNote(step.name, step.value)
        return {}
      default:
        return step satisfies never
    }
  }

  async #erase({ asOf, ranges: flat }: EraseStep): Promise<Done> {
    const ranges: BulkRange[] = []
    for (let at = 0; at < flat.length; at += RANGE_FIELDS) ranges.push([flat[at] ?? 0, flat[at + 1] ?? 0])
    const used = await this.#index.usedSince(asOf)
    if (ranges.some(([lo, hi]) => used.some(([from, to]) => from < hi && to > lo))) return { isStale: true }
    if (this.#isUnsynced) await this.#index.makeDurable()
    this.#isUnsynced = false
    return { bytes: await this.#bulk.release(ranges, await this.#index.bulkEnd()) }
  }
}
