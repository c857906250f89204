import type { Retaining } from '../capabilities.ts'
import { ReadOnlyError } from '../errors.ts'
import type { Retention } from '../retention.ts'

/** The retention of a database in memory. */
export class MemoryRetaining implements Retaining {
  readonly #database: { retention: Retention | undefined }
  readonly #readOnly: boolean

  constructor(database: { retention: Retention | undefined }, readOnly: boolean) {
    this.#database = database
    this.#readOnly = readOnly
  }

  retention(): Promise<Retention | undefined> {
    return Promise.resolve(this.#database.retention)
  }

  setRetention(retention: Retention): Promise<void> {
    if (this.#readOnly) return Promise.reject(new ReadOnlyError('memory is open for reading only'))
    this.#database.retention = retention
    return Promise.resolve()
  }
}
