import type { Capabilities } from '../../../store/capabilities.ts'
import { TID_MAX, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import type { RecordSource } from '../../../store/changes.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import { afterEach, beforeEach } from 'vitest'

/** A database for one test. */
export interface TestDatabase {
  /** Opens it for writing; the first time, it is empty. */
  open(): Promise<WritableStore>
  /** Opens it for reading, beside the writer. */
  openReader(): Promise<Store>
  remove(): Promise<void>
}

/** Makes a new database. */
export type MakeDatabase = () => Promise<TestDatabase>

/** A new database for each test of a `describe`, opened for writing. */
export class OpenedDatabase {
  #database: TestDatabase | undefined
  #store: WritableStore | undefined

  constructor(make: MakeDatabase) {
    beforeEach(async () => {
      this.#database = await make()
      this.#store = await this.#database.open()
    })
    afterEach(async () => {
      await this.store.close()
      await this.database.remove()
    })
  }

  get database(): TestDatabase {
    return this.#database!
  }

  get store(): WritableStore {
    return this.#store!
  }

  /** A capability of the store. */
  offered<Name extends keyof Capabilities>(name: Name): NonNullable<Capabilities[Name]> {
    const found = this.store.capabilities[name]
    if (found === undefined) throw new TypeError(`no ${name}`)
    return found
  }

  /** Opens it for writing again; the store was closed. */
  async reopen(): Promise<void> {
    this.#store = await this.database.open()
  }

  /** Commits a new object. */
  async add(record: RecordSource | Uint8Array): Promise<{ oid: Oid; tid: Tid }> {
    const oid = (await this.store.allocateOids(1)).first
    const source = record instanceof Uint8Array ? { head: record } : record
    return { oid, tid: await this.store.commit({ changes: [{ oid, base: TID_NONE, record: source }] }) }
  }

  async loadOne(oid: Oid, at: Tid = TID_MAX): Promise<Uint8Array | undefined> {
    return (await this.store.load([oid], at))[0]?.record
  }
}
