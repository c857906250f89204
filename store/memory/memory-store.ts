/** A store in memory: the contract over the simplest index and Bulk. Nothing outlives the process. */
import { setImmediate as turn } from 'node:timers/promises'
import type { Capabilities, FoundIntents, IntentEntries, Intents, Pinning } from '../capabilities.ts'
import { LockedError } from '../errors.ts'
import type { Tid } from '../ids.ts'
import { Committer } from '../indexed/committer.ts'
import { newDatabaseId } from '../indexed/database-id.ts'
import { IndexedChecking } from '../indexed/check/checking.ts'
import { IndexedStore } from '../indexed/indexed-store.ts'
import { MarkMemory } from '../indexed/pack/mark-memory.ts'
import { PackWriter } from '../indexed/pack/pack-writer.ts'
import type { PackStep, PackStepResult } from '../indexed/pack/pack-steps.ts'
import { IndexedPacking } from '../indexed/pack/packing.ts'
import type { ReadClock } from '../indexed/database-clock.ts'
import { IndexedRevisionReader } from '../indexed/revision-reader.ts'
import { WriteHalf } from '../indexed/write-half.ts'
import { Polling } from '../polling.ts'
import type { NewTransaction, OidRange, ReadOnlyStore, WritableStore } from '../store.ts'
import { MemoryBulk } from './memory-bulk.ts'
import { MemoryChecked } from './memory-checking.ts'
import { MemoryIndex } from './memory-index.ts'

const NAME = 'memory'
const ID_NOTE = 'id'

/** Stands in for the disk: it outlives the stores that are opened on it. */
export class MemoryDatabase {
  readonly index: MemoryIndex
  readonly bulk: MemoryBulk
  readonly intents: MemoryIntents
  /** The moments that each open store reads. */
  readonly pins = new Map<object, readonly Tid[]>()
  /** The number of open stores that write. */
  #writers = 0
  #marks: MarkMemory | undefined
  /** What repairs it. */
  #repairer: string | undefined

  constructor(index = new MemoryIndex(), bulk = new MemoryBulk(), entries: readonly MemoryEntry[] = []) {
    this.index = index
    this.bulk = bulk
    this.intents = new MemoryIntents(() => index.lastTid(), entries)
    if (index.note(ID_NOTE) === undefined) index.setNote(ID_NOTE, newDatabaseId())
  }

  /**
   * Keeps repairs out until the returned function is called. Usually one store writes; a test of conflicts opens two.
   * @throws LockedError during a repair.
   */
  openForWriting(): () => void {
    if (this.#repairer !== undefined) throw new LockedError(NAME, this.#repairer)
    this.#writers++
    return () => {
      this.#writers--
    }
  }

  /** Excludes writers until the returned function is called. @throws LockedError */
  lock(repairer: string): () => void {
    if (this.#writers > 0) throw new LockedError(NAME, 'a store in this process')
    if (this.#repairer !== undefined) throw new LockedError(NAME, this.#repairer)
    this.#repairer = repairer
    return () => {
      this.#repairer = undefined
    }
  }

  openMarkMemory(): MarkMemory {
    this.#marks ??= MarkMemory.shared()
    return this.#marks
  }

  /** An independent copy, which is not open. */
  copy(): MemoryDatabase {
    return new MemoryDatabase(this.index.copy(), this.bulk.copy(), this.intents.entries)
  }
}

interface MemoryEntry {
  /** The transaction that it follows. */
  readonly base: Tid
  /** The last transaction when it was added. */
  readonly last: Tid
  readonly bytes: Uint8Array
}

class MemoryIntents implements IntentEntries {
  readonly needsTransaction = false
  readonly #lastTid: () => Tid
  #entries: readonly MemoryEntry[]

  constructor(lastTid: () => Tid, entries: readonly MemoryEntry[]) {
    this.#lastTid = lastTid
    this.#entries = entries
  }

  /** Those that are in no transaction, in order. */
  get entries(): readonly MemoryEntry[] {
    const tid = this.#lastTid()
    return this.#entries.filter(({ base, last }) => base === tid || last === tid)
  }

  read(): Promise<FoundIntents> {
    const { entries } = this
    const last = this.#lastTid()
    let uncommitted = last
    for (const { base } of entries) if (base > uncommitted) uncommitted = base
    return Promise.resolve({
      entries: entries.map(({ bytes }) => bytes),
      isDamaged: false,
      ...(uncommitted > last && { uncommitted }),
    })
  }

  add(bytes: Uint8Array, base = this.#lastTid()): Promise<boolean> {
    const last = this.#lastTid()
    if (base >= last) this.#entries = [...this.entries, { base, last, bytes: Uint8Array.from(bytes) }]
    return Promise.resolve(true)
  }
}

const explain = (error: unknown): unknown => error

/** What both kinds share: reading. */
abstract class MemoryReads extends IndexedStore {
  readonly #database: MemoryDatabase

  constructor(database: MemoryDatabase, readClock?: ReadClock) {
    const { index, bulk } = database
    super({ name: NAME, index, scan: index, bulk, explain, idNote: ID_NOTE }, readClock)
    this.#database = database
  }

  protected readonly pinning: Pinning = {
    pin: async moments => {
      this.#database.pins.set(this, moments)
      await this.assertKept(moments)
      return true
    },
    pinned: () => Promise.resolve([...this.#database.pins.values()].flat()),
  }

  openSource(): IndexedRevisionReader {
    const { index, bulk } = this.#database
    return new IndexedRevisionReader({ index, scan: index, bulk, explain, close: () => {} })
  }

  override async close(): Promise<void> {
    this.#database.pins.delete(this)
    await super.close()
  }
}

/** An in-memory database opened for reading. */
export class MemoryReader extends MemoryReads implements ReadOnlyStore {
  readonly readOnly = true
  readonly capabilities: Capabilities

  constructor(database: MemoryDatabase) {
    super(database)
    this.capabilities = {
      watching: new Polling(() => this.lastTid()),
      pinning: this.pinning,
      retaining: this.retaining,
      dating: this.dating,
      measuring: this.measuring,
      checking: new IndexedChecking(new MemoryChecked(database, () => this.openSource())),
      copying: this.copying,
      lineage: this.lineage,
    }
  }
}

/** An in-memory database opened for writing. */
export class MemoryStore extends MemoryReads implements WritableStore {
  readonly readOnly = false
  readonly capabilities: Capabilities
  readonly #writing: WriteHalf
  readonly #packWriter: PackWriter
  readonly #unlock: () => void
  readonly #marks: () => MarkMemory
  #isClosed = false
  /** Settles when all queued commits have. */
  #last: Promise<unknown> = Promise.resolve()

  /** @param readClock the machine's clocks, for tests. */
  constructor(database = new MemoryDatabase(), readClock?: ReadClock) {
    super(database, readClock)
    this.#unlock = database.openForWriting()
    this.#marks = () => database.openMarkMemory()
    const { index, bulk, intents } = database
    index.dropParts()
    const committer = new Committer({ index, bulk, reader: bulk }, index.last())
    this.#writing = new WriteHalf({
      name: NAME,
      lastTid: committer.lastTid,
      nextOid: committer.nextOid,
      commit: (transaction, nextOid) => this.#queue(() => committer.commit(transaction, nextOid)),
      clock: this.dating,
      spill: (changes, nextOid, tid) => this.#queue(() => committer.spill(changes, nextOid, tid)),
      dropSpilled: () => this.#queue(() => committer.dropSpilled()),
      intents,
      describeWaiting: (_, count) => `${NAME} has ${count} synced changes that are not in a transaction yet`,
    })
    this.#packWriter = new PackWriter(index, bulk)
    this.capabilities = {
      intents: this.#writing.intents,
      pinning: this.pinning,
      packing: new IndexedPacking(this),
      retaining: this.retaining,
      dating: this.dating,
      spilling: this.#writing.spilling,
      measuring: this.measuring,
      copying: this.copying,
      lineage: this.lineage,
    }
  }

  /** The intents, even if {@link MemoryStore.capabilities} does not offer them. */
  protected get intents(): Intents | undefined {
    return this.#writing.intents
  }

  allocateOids(count: number): Promise<OidRange> {
    return this.#writing.allocateOids(count)
  }

  commit(transaction: NewTransaction): Promise<Tid> {
    return this.#writing.commit(transaction)
  }

  override async setNote(name: string, value: string): Promise<void> {
    await this.packStep({ kind: 'note', name, value })
  }

  openMarkMemory(): MarkMemory {
    return this.#marks()
  }

  packStep(step: PackStep): Promise<PackStepResult> {
    return this.#queue(() => this.#packWriter.run(step))
  }

  override async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#writing.close()
    await this.#writing.settled()
    await super.close()
    await this.#last
    this.#unlock()
  }

  /** A commit takes a turn of the event loop, as in any other store, during which reads run. */
  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(() => turn()).then(work)
    this.#last = done.catch(() => undefined)
    return done
  }
}
