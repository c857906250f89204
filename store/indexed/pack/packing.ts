/** Packing (store/capabilities.ts) over an index and a Bulk, on the caller's thread: for stores whose reads are asynchronous, or small. */
import type { Packing, PackReport, PackWork } from '../../capabilities.ts'
import type { MarkModule } from '../../stored-revisions.ts'
import type { KeptMoments } from '../../kept-moments.ts'
import { formatKeptMoments, KEPT_MOMENTS } from '../kept-moments-note.ts'
import { MarkMemory } from './mark-memory.ts'
import { Pacing } from './pacing.ts'
import { PackRun } from './pack-run.ts'
import type { PackSource } from './pack-source.ts'
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

export interface PackedStore extends NotedStore {
  /** A reader over a separate connection. */
  openSource(): PackSource

  /** Opens what the last pack remembered. Absent: every pack marks all objects. */
  openMarkMemory?(): MarkMemory
}

export class IndexedPacking extends NotedPacking {
  readonly #store: PackedStore

  constructor(store: PackedStore) {
    super(store)
    this.#store = store
  }

  async pack({ kept, marker, rest, spareBytes, onProgress, signal }: PackWork): Promise<PackReport> {
    signal?.throwIfAborted()
    const module = (await import(marker.href)) as MarkModule
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
      const openMemory = (isTemporary: boolean): MarkMemory =>
        (isTemporary ? undefined : this.#store.openMarkMemory?.()) ?? MarkMemory.temporary()
      return await new PackRun({ reader, kept, marker: module, openMemory, spareBytes, outside }).run()
    } finally {
      reader.close()
    }
  }
}
