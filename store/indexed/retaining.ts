/** Retaining (store/capabilities.ts) as a note of an index. */
import type { Retaining } from '../capabilities.ts'
import { formatRetention, storedRetention, type Retention } from '../retention.ts'

/** The name of the note. */
const RETENTION = 'history'

export interface Notes {
  note(name: string): Promise<string | undefined>
  /** Rejects on a read-only store. */
  setNote(name: string, value: string): Promise<void>
}

export class IndexedRetaining implements Retaining {
  readonly #notes: Notes

  constructor(notes: Notes) {
    this.#notes = notes
  }

  async retention(): Promise<Retention | undefined> {
    const text = await this.#notes.note(RETENTION)
    return text === undefined ? undefined : storedRetention(text)
  }

  async setRetention(retention: Retention): Promise<void> {
    await this.#notes.setNote(RETENTION, formatRetention(retention))
  }
}
