/** Packing (store/capabilities.ts) over an index and a Bulk, on the caller's thread: for stores whose reads are asynchronous, or small. */
import type { Packing, PackReport, PackWork } from '../../capabilities.ts'
import type { MarkModule } from '../../stored-revisions.ts'
import type { KeptMoments } from '../../kept-moments.ts'
import { formatKeptMoments, KEPT_MOMENTS } from '../kept-moments-note.ts'
import { Pacing } from './pacing.ts'
import { PackRun } from './pack-run.ts'
import type { PackSource } from './pack-source.ts'
import type { PackStep, PackStepResult } from './pack-steps.ts'

export interface PackedStore {
  keptMoments(): Promise<KeptMoments>
  /** Runs a step (pack-writer.ts) after the commits that were queued before it. */
  packStep(step: PackStep): Promise<PackStepResult>
  /** A reader over a connection of its own. */
  openSource(): PackSource
}

export class IndexedPacking implements Packing {
  readonly #store: PackedStore

  constructor(store: PackedStore) {
    this.#store = store
  }

  kept(): Promise<KeptMoments> {
    return this.#store.keptMoments()
  }

  async keep(moments: KeptMoments): Promise<void> {
    await this.#store.packStep({ kind: 'note', name: KEPT_MOMENTS, value: formatKeptMoments(moments) })
  }

  async pack({ kept, marker, rest, spareBytes, onProgress, signal }: PackWork): Promise<PackReport> {
    signal?.throwIfAborted()
    const { mark } = (await import(marker.href)) as MarkModule
    const pacing = new Pacing(rest, onProgress)
    const reader = this.#store.openSource()
    try {
      const outside = {
        step: async (step: PackStep): Promise<PackStepResult> => {
          signal?.throwIfAborted()
          return await this.#store.packStep(step)
        },
        progress: pacing.progress.bind(pacing),
        pause: () => {
          signal?.throwIfAborted()
          return pacing.pause()
        },
      }
      return await new PackRun({ reader, kept, mark, spareBytes, outside }).run()
    } finally {
      reader.close()
    }
  }
}
