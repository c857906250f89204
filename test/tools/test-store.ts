/** A store in memory that counts what is read from it, and whose commits and intents fail or wait as a test says. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Capabilities, Intents } from '../../store/capabilities.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import { MemoryDatabase, MemoryStore } from '../../store/memory/memory-store.ts'
import type { NewTransaction, Revision, RevisionPart, SliceRead } from '../../store/store.ts'

interface TestStoreOptions {
  /** Whether it offers intents. */
  readonly hasIntents?: boolean
  readonly database?: MemoryDatabase
}

export class TestStore extends MemoryStore {
  /** Called before each commit; what it throws, the commit throws. */
  beforeCommit: (transaction: NewTransaction) => Promise<void> = () => Promise.resolve()
  /** What was asked for. */
  readonly reads = { records: 0, bytes: 0, calls: 0 }
  /** Whether there is room for intents. */
  hasRoom = true
  override readonly capabilities: Capabilities
  readonly database: MemoryDatabase

  constructor({ hasIntents = false, database = new MemoryDatabase() }: TestStoreOptions = {}) {
    super(database)
    this.database = database
    const { intents } = this
    this.capabilities = hasIntents && intents !== undefined ? { intents: this.#slow(intents) } : {}
  }

  /** Intents that take a turn of the event loop, and that fail where there is no room. */
  #slow(intents: Intents): Intents {
    return {
      read: () => intents.read(),
      add: async (entry, follows) => {
        const { hasRoom } = this
        if (hasRoom) await intents.add(entry, follows)
        await turn()
        return hasRoom
      },
      get needsTransaction() {
        return intents.needsTransaction
      },
      reserve: () => intents.reserve(),
    }
  }

  /** What the next process would find if this one died now. */
  found(): TestStore {
    const hasIntents = this.capabilities.intents !== undefined
    return new TestStore({ hasIntents, database: this.database.copy() })
  }

  /** Replaces the newest record of an object, or removes it. */
  damage(oid: Oid, record: Uint8Array | undefined): void {
    this.database.index.damage(oid, row =>
      record === undefined ? undefined : { ...row, head: record, pos: null, len: 0, tail: null },
    )
  }

  override async load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    this.reads.calls++
    const found = await super.load(oids, at)
    this.reads.records += oids.length
    for (const revision of found) this.reads.bytes += revision?.record.length ?? 0
    return found
  }

  override async loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    this.reads.calls++
    const part = await super.loadPart(oid, at, off, len, into)
    this.reads.bytes += part?.bytes.length ?? 0
    return part
  }

  override async readSlices(reads: readonly SliceRead[]): Promise<void> {
    this.reads.calls++
    await super.readSlices(reads)
    for (const { into } of reads) this.reads.bytes += into.length
  }

  override async commit(transaction: NewTransaction): Promise<Tid> {
    await this.beforeCommit(transaction)
    return await super.commit(transaction)
  }
}
