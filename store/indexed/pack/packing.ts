/** Packing (store/capabilities.ts) over an index and a Bulk, on the caller's thread: for stores whose reads are asynchronous, or small. */
import type { PackReport, PackWork } from '../../capabilities.ts'
import type { MarkModule } from '../../stored-revisions.ts'
import { MARK_MEMORY, MarkMemory } from './mark-memory.ts'
import { type NotedStore, NotedPacking } from './noted-packing.ts'
import { Pacing } from './pacing.ts'
import { PackRun } from './pack-run.ts'
import type { PackSource } from './pack-source.ts'
import type { PackStep, PackStepResult } from './pack-steps.ts'

export interface PackedStore extends NotedStore {
  /** A reader over a separate connection. */
  openSource(): PackSource

  /** Opens what the last pack remembered, in memory. Absent: it is in a note ({@link MARK_MEMORY}). */
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
      const openMemory = async (isTemporary: boolean): Promise<MarkMemory> => {
        if (isTemporary) return MarkMemory.temporary()
        return this.#store.openMarkMemory?.() ?? (await memoryInNote(reader, outside.step))
      }
      return await new PackRun({ reader, kept, marker: module, openMemory, spareBytes, outside }).run()
    } finally {
      reader.close()
    }
  }
}

/** Opens what the last pack has left in a note. @param step runs a step of this pack. */
export const memoryInNote = async (
  reader: PackSource,
  step: (step: PackStep) => Promise<PackStepResult>,
): Promise<MarkMemory> =>
  MarkMemory.inNote(await reader.note(MARK_MEMORY), async value => {
    await step({ kind: 'note', name: MARK_MEMORY, value })
  })
