/** What every packing of an index has in common: the kept moments are a note. */
import type { Packing, PackReport, PackWork } from '../../capabilities.ts'
import type { KeptMoments } from '../../kept-moments.ts'
import { formatKeptMoments, KEPT_MOMENTS } from '../kept-moments-note.ts'
import type { PackStep, PackStepResult } from './pack-steps.ts'

/** The part of a store that recording a pack needs. */
export interface NotedStore {
  keptMoments(): Promise<KeptMoments>
  /** Runs a step (pack-writer.ts) after the commits that were queued before it. */
  packStep(step: PackStep): Promise<PackStepResult>
}

/** Records the kept moments as a note of the index; a subclass packs. */
export abstract class NotedPacking implements Packing {
  readonly #noted: NotedStore

  constructor(store: NotedStore) {
    this.#noted = store
  }

  kept(): Promise<KeptMoments> {
    return this.#noted.keptMoments()
  }

  async keep(moments: KeptMoments): Promise<void> {
    await this.#noted.packStep({ kind: 'note', name: KEPT_MOMENTS, value: formatKeptMoments(moments) })
  }

  abstract pack(work: PackWork): Promise<PackReport>
}
