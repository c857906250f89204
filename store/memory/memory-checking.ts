import { MARK } from '../indexed/pack/mark-memory.ts'
import { PACKED, VOID } from '../indexed/pack/packed-note.ts'
import type { StorageRepair } from '../capabilities.ts'
import type { RevisionReader } from '../stored-revisions.ts'
import type { CheckedDatabase } from '../indexed/check/checking.ts'
import type { CheckedParts } from '../indexed/check/storage-check.ts'
import type { MemoryBulk } from './memory-bulk.ts'
import type { MemoryIndex } from './memory-index.ts'

/** The part of an in-memory database that a check or a repair uses. */
export interface RepairedMemory {
  readonly index: MemoryIndex
  readonly bulk: MemoryBulk
  /** Excludes writers until the returned function is called. @throws LockedError */
  lock(holder: string): () => void
}

/** An in-memory database for a check. */
export class MemoryChecked implements CheckedDatabase {
  readonly #database: RepairedMemory
  readonly #openReader: () => RevisionReader

  constructor(database: RepairedMemory, openReader: () => RevisionReader) {
    this.#database = database
    this.#openReader = openReader
  }

  open(): CheckedParts & { readonly close: () => void } {
    const { index, bulk } = this.#database
    return { index, bulk, close: () => {} }
  }

  reader(): RevisionReader {
    return this.#openReader()
  }

  note(name: string): Promise<string | undefined> {
    return Promise.resolve(this.#database.index.note(name))
  }

  setNotes(names: readonly string[], value: string): Promise<void> {
    for (const name of names) this.#database.index.setNote(name, value)
    return Promise.resolve()
  }

  async beginRepair(purpose: string): Promise<StorageRepair> {
    const release = this.#database.lock(purpose)
    return {
      mend: async index => {
        if (!index) return
        this.#database.index.mend()
        for (const name of [PACKED, MARK]) this.#database.index.setNote(name, VOID)
      },
      end: async () => release(),
    }
  }

  explain(error: unknown): unknown {
    return error
  }
}
