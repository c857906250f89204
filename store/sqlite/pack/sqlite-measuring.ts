import { statfs } from 'node:fs/promises'
import type {
  Added,
  Mark,
  Measured,
  Measuring,
  OnMeasured,
  RevisionReader,
  Space,
} from '../../capabilities.ts'
import type { Tid } from '../../ids.ts'
import type { KeptMoments } from '../../kept-moments.ts'
import { storeError } from '../sqlite-errors.ts'
import { measureAll, measureLeft } from '../../indexed/pack/measure.ts'
import { PackReader } from './pack-reader.ts'

/** The store that is measured. */
export interface MeasuredStore {
  readonly name: string
  space(): Promise<Space>
  added(after: Tid, upTo: Tid): Promise<Added>
}

export class SqliteMeasuring implements Measuring {
  readonly #store: MeasuredStore

  constructor(store: MeasuredStore) {
    this.#store = store
  }

  space(): Promise<Space> {
    return this.#store.space()
  }

  async availableBytes(): Promise<number | undefined> {
    try {
      const { bavail, bsize } = await statfs(this.#store.name)
      return bavail * bsize
    } catch {
      // The database was moved, for example.
      return undefined
    }
  }

  added(after: Tid, upTo: Tid): Promise<Added> {
    return this.#store.added(after, upTo)
  }

  async all(): Promise<Measured> {
    return await this.#reading(measureAll)
  }

  async left(kept: KeptMoments, mark: Mark, onProgress?: OnMeasured): Promise<Measured> {
    return await this.#reading(reader => measureLeft(reader, kept, mark, onProgress))
  }

  reader(): RevisionReader {
    return new PackReader(this.#store.name)
  }

  async #reading<T>(measure: (reader: PackReader) => Promise<T>): Promise<T> {
    const reader = new PackReader(this.#store.name)
    try {
      return await measure(reader)
    } catch (error) {
      throw storeError(error, this.#store.name)
    } finally {
      reader.close()
    }
  }
}
