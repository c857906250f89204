/** A store in memory: the contract over the simplest index and Bulk. Nothing of it outlives the process. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Capabilities, FoundIntents, Intents, Pinning } from '../capabilities.ts'
import { StoreError } from '../errors.ts'
import { formatTid, type Tid } from '../ids.ts'
import { Committer } from '../indexed/committer.ts'
import { IndexedStore } from '../indexed/indexed-store.ts'
import { WriteHalf } from '../indexed/write-half.ts'
import { MemoryRetaining } from './memory-retaining.ts'
import { ALL_MOMENTS, isKept, type KeptMoments } from '../kept-moments.ts'
import { Polling } from '../polling.ts'
import type { Retention } from '../retention.ts'
import type { NewTransaction, OidRange, ReadOnlyStore, WritableStore } from '../store.ts'
import { MemoryBulk } from './memory-bulk.ts'
import { MemoryIndex } from './memory-index.ts'
import { MemoryMeasuring, MemoryPacking } from './memory-packing.ts'

/** What takes the place of the disk: it outlives the stores that are opened on it. */
export class MemoryDatabase {
  readonly index: MemoryIndex
  readonly bulk: MemoryBulk
  readonly intents: MemoryIntents
  /** Which moments the last pack kept. */
  kept: KeptMoments = ALL_MOMENTS
  retention: Retention | undefined
  /** The moments that each open store reads. */
  readonly pins = new Map<object, readonly Tid[]>()

  constructor(index = new MemoryIndex(), bulk = new MemoryBulk(), entries: readonly Uint8Array[] = []) {
    this.index = index
    this.bulk = bulk
    this.intents = new MemoryIntents(() => index.lastTid(), entries)
  }

  /** The database as it is now; changes of one are not in the other. */
  copy(): MemoryDatabase {
    const copy = new MemoryDatabase(this.index.copy(), this.bulk.copy(), this.intents.entries)
    copy.kept = this.kept
    copy.retention = this.retention
    return copy
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

/** Pins of one open store. */
class MemoryPins implements Pinning {
  readonly #database: MemoryDatabase

  constructor(database: MemoryDatabase) {
    this.#database = database
  }

  async pin(moments: readonly Tid[]): Promise<boolean> {
    this.#database.pins.set(this, moments)
    const forgotten = moments.find(moment => !isKept(this.#database.kept, moment))
    if (forgotten !== undefined)
      throw new StoreError(`${NAME}: transaction ${formatTid(forgotten)} was forgotten by a pack`)
    return true
  }

  pinned(): Promise<readonly Tid[]> {
    return Promise.resolve([...this.#database.pins.values()].flat())
  }

  release(): void {
    this.#database.pins.delete(this)
  }
}

/** A database in memory, opened for reading. */
export class MemoryReader extends IndexedStore implements ReadOnlyStore {
  readonly readOnly = true
  readonly capabilities: Capabilities
  readonly #database: MemoryDatabase
  readonly #pins: MemoryPins

  constructor(database: MemoryDatabase) {
    const { index, bulk } = database
    super({ name: NAME, index, bulk, explain })
    this.#database = database
    this.#pins = new MemoryPins(database)
    this.capabilities = {
      watching: new Polling(() => this.lastTid()),
      pinning: this.#pins,
      retaining: new MemoryRetaining(database, true),
      measuring: new MemoryMeasuring(database),
    }
  }

  isKept(at: Tid): Promise<boolean> {
    return Promise.resolve(isKept(this.#database.kept, at))
  }

  override async close(): Promise<void> {
    this.#pins.release()
    await super.close()
  }
}

/** A database in memory, opened for writing. One at a time may be open. */
export class MemoryStore extends IndexedStore implements WritableStore {
  readonly readOnly = false
  readonly capabilities: Capabilities
  readonly #writing: WriteHalf
  readonly #database: MemoryDatabase
  readonly #pins: MemoryPins
  /** Settles when the commits asked for so far have. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(database = new MemoryDatabase()) {
    const { index, bulk, intents } = database
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
    this.#database = database
    this.#pins = new MemoryPins(database)
    this.capabilities = {
      intents: this.#writing.intents,
      pinning: this.#pins,
      packing: new MemoryPacking(database, work => this.#queue(work)),
      retaining: new MemoryRetaining(database, false),
      measuring: new MemoryMeasuring(database),
    }
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

  isKept(at: Tid): Promise<boolean> {
    return Promise.resolve(isKept(this.#database.kept, at))
  }

  override async close(): Promise<void> {
    this.#pins.release()
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
