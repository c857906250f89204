/** Measuring (store/capabilities.ts) over an index and a Bulk. */
import type { Added, Measured, Measuring, OnMeasured, Space, Sums } from '../capabilities.ts'
import type { Mark, RevisionReader } from '../stored-revisions.ts'
import type { Tid } from '../ids.ts'
import type { KeptMoments } from '../kept-moments.ts'
import { measureAll, measureLeft } from './pack/measure.ts'
import type { PackSource } from './pack/pack-source.ts'

export interface MeasuredStore {
  space(): Promise<Space>
  added(after: Tid, upTo: Tid): Promise<Added>
  sums(): Promise<Sums>
  availableBytes(): Promise<number | undefined>
  securedBytes(): Promise<number | undefined>
  /** A reader over a separate connection. */
  openSource(): PackSource
}

export class IndexedMeasuring implements Measuring {
  readonly #store: MeasuredStore

  constructor(store: MeasuredStore) {
    this.#store = store
  }

  space(): Promise<Space> {
    return this.#store.space()
  }

  availableBytes(): Promise<number | undefined> {
    return this.#store.availableBytes()
  }

  securedBytes(): Promise<number | undefined> {
    return this.#store.securedBytes()
  }

  added(after: Tid, upTo: Tid): Promise<Added> {
    return this.#store.added(after, upTo)
  }

  sums(): Promise<Sums> {
    return this.#store.sums()
  }

  all(): Promise<Measured> {
    return this.#reading(measureAll)
  }

  left(kept: KeptMoments, mark: Mark, onProgress?: OnMeasured): Promise<Measured> {
    return this.#reading(source => measureLeft(source, kept, mark, onProgress))
  }

  reader(): RevisionReader {
    return this.#store.openSource()
  }

  async #reading<T>(measure: (source: PackSource) => Promise<T>): Promise<T> {
    const source = this.#store.openSource()
    try {
      return await measure(source)
    } finally {
      source.close()
    }
  }
}
