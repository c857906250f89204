/** Checking (store/capabilities.ts) over an index and a Bulk. */
import type { Checking, StorageCheckOptions, StorageDamage, StorageRepair } from '../../capabilities.ts'
import type { RevisionReader } from '../../stored-revisions.ts'
import type { Oid, Tid } from '../../ids.ts'
import { lossName } from './losses.ts'
import { checkStorage, type CheckedParts } from './storage-check.ts'

/** A database opened for a check. */
export interface CheckedDatabase {
  /** Opens it for a check. The caller closes it. */
  open(): CheckedParts & { readonly close: () => void }
  reader(): RevisionReader
  note(name: string): Promise<string | undefined>
  /** Stores notes durably, in a repair: no writer is open. */
  setNotes(names: readonly string[], value: string): Promise<void>
  /** As {@link Checking.beginRepair}. */
  beginRepair(purpose: string): Promise<StorageRepair>
  /** Converts an error of the index or Bulk into one of errors.ts; returns other errors unchanged. */
  explain(error: unknown): unknown
}

export class IndexedChecking implements Checking {
  readonly #database: CheckedDatabase

  constructor(database: CheckedDatabase) {
    this.#database = database
  }

  async *storage(options: StorageCheckOptions): AsyncGenerator<StorageDamage> {
    const parts = this.#database.open()
    try {
      yield* checkStorage(parts, options)
    } catch (error) {
      throw this.#database.explain(error)
    } finally {
      parts.close()
    }
  }

  reader(): RevisionReader {
    return this.#database.reader()
  }

  async isAccepted(oid: Oid, tid: Tid): Promise<boolean> {
    return (await this.#database.note(lossName(oid, tid))) !== undefined
  }

  async accept(losses: readonly { readonly oid: Oid; readonly tid: Tid }[]): Promise<void> {
    const names = losses.map(({ oid, tid }) => lossName(oid, tid))
    await this.#database.setNotes(names, 'accepted by a repair')
  }

  beginRepair(purpose: string): Promise<StorageRepair> {
    return this.#database.beginRepair(purpose)
  }
}
