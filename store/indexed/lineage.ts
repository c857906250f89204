/** Lineage (store/capabilities.ts) as notes of an index. */
import type { Lineage } from '../copying.ts'
import { StoreError } from '../errors.ts'
import type { KeptMoments } from '../kept-moments.ts'
import { isDatabaseId } from './database-id.ts'
import { formatKeptMoments, parseKeptMoments } from './kept-moments-note.ts'
import type { Notes } from './retaining.ts'

/** The names of the notes. */
const ORIGIN = 'origin'
const SOURCE_MOMENTS = 'kept moments of the source'

export class IndexedLineage implements Lineage {
  readonly #notes: Notes
  readonly #idNote: string

  /** @param idNote the name of the note that has the database's own id. */
  constructor(notes: Notes, idNote: string) {
    this.#notes = notes
    this.#idNote = idNote
  }

  async origin(): Promise<string> {
    const origin = (await this.#notes.note(ORIGIN)) ?? (await this.#notes.note(this.#idNote))
    if (isDatabaseId(origin)) return origin
    throw new StoreError("the database's id is damaged", { code: 'damaged-id' })
  }

  async sourceMoments(): Promise<KeptMoments | undefined> {
    const text = await this.#notes.note(SOURCE_MOMENTS)
    return text === undefined ? undefined : parseKeptMoments(text)
  }

  async setLineage(origin: string, sourceMoments: KeptMoments): Promise<void> {
    if (!isDatabaseId(origin)) throw new StoreError('this is not the id of a database')
    await this.#notes.setNote(SOURCE_MOMENTS, formatKeptMoments(sourceMoments))
    await this.#notes.setNote(ORIGIN, origin)
  }
}
