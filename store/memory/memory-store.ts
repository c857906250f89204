/** A store in memory: the contract over the simplest index and Bulk. Nothing of it outlives the process. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Capabilities, FoundIntents, Intents } from '../capabilities.ts'
import type { Tid } from '../ids.ts'
import { Committer } from '../indexed/committer.ts'
import { IndexedStore } from '../indexed/indexed-store.ts'
import { WriteHalf } from '../indexed/write-half.ts'
import { Polling } from '../polling.ts'
import type { NewTransaction, OidRange, ReadOnlyStore, WritableStore } from '../store.ts'
import { MemoryBulk } from './memory-bulk.ts'
import { MemoryIndex } from './memory-index.ts'

/** What takes the place of the disk: it outlives the stores that are opened on it. */
export class MemoryDatabase {
  readonly index: MemoryIndex
  readonly bulk: MemoryBulk
  readonly intents: MemoryIntents

  constructor(index = new MemoryIndex(), bulk = new MemoryBulk(), entries: readonly Uint8Array[] = []) {
    this.index = index
    this.bulk = bulk
    this.intents = new MemoryIntents(() => index.lastTid(), entries)
  }

  /** The database as it is now; changes of one are not in the other. */
  copy(): MemoryDatabase {
    return new MemoryDatabase(this.index.copy(), this.bulk.copy(), this.intents.entries)
  }
}

/** Entries that follow the last transaction. */
class MemoryIntents implements Intents {
  readonly #lastTid: () => Tid
  #entries: readonly Uint8Array[]
  /** The transaction that they follow. */
  #base: Tid

  constructor(lastTid: () => Tid, entries: readonly Uint8Array[]) {
    this.#lastTid = lastTid
    this.#entries = entries
    this.#base = lastTid()
  }

  get entries(): readonly Uint8Array[] {
    return this.#base === this.#lastTid() ? this.#entries : []
  }

  read(): Promise<FoundIntents> {
    return Promise.resolve({ entries: this.entries, isDamaged: false })
  }

  add(bytes: Uint8Array): Promise<boolean> {
    this.#entries = [...this.entries, Uint8Array.from(bytes)]
    this.#base = this.#lastTid()
    return Promise.resolve(true)
  }
}

const NAME = 'memory'
const explain = (error: unknown): unknown => error

/** A database in memory, opened for reading. */
export class MemoryReader extends IndexedStore implements ReadOnlyStore {
  readonly readOnly = true
  readonly capabilities: Capabilities = { watching: new Polling(() => this.lastTid()) }

  constructor({ index, bulk }: MemoryDatabase) {
    super({ name: NAME, index, bulk, explain })
  }
}

/** A database in memory, opened for writing. One at a time may be open. */
export class MemoryStore extends IndexedStore implements WritableStore {
  readonly readOnly = false
  readonly capabilities: Capabilities
  readonly #writing: WriteHalf
  /** Settles when the commits asked for so far have. */
  #last: Promise<unknown> = Promise.resolve()

  constructor({ index, bulk, intents }: MemoryDatabase = new MemoryDatabase()) {
    super({ name: NAME, index, bulk, explain })
    const committer = new Committer({ index, bulk, reader: bulk }, index.last())
    this.#writing = new WriteHalf({
      name: NAME,
      lastTid: committer.lastTid,
      nextOid: committer.nextOid,
      commit: (transaction, nextOid) => this.#queue(() => committer.commit(transaction, nextOid)),
      intents,
      describeWaiting: (_, count) => `${NAME} has ${count} synced writes that are in no transaction yet`,
    })
    this.capabilities = { intents: this.#writing.intents }
  }

  /** The intents, whether {@link MemoryStore.capabilities} offers them or not. */
  protected get intents(): Intents | undefined {
    return this.#writing.intents
  }

  allocateOids(count: number): Promise<OidRange> {
    return this.#writing.allocateOids(count)
  }

  commit(transaction: NewTransaction): Promise<Tid> {
    return this.#writing.commit(transaction)
  }

  override async close(): Promise<void> {
    this.#writing.close()
    await super.close()
    await this.#last
  }

  /** A commit takes a turn of the event loop, as on any other store: reads have theirs meanwhile. */
  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(() => turn()).then(work)
    this.#last = done.catch(() => undefined)
    return done
  }
}
