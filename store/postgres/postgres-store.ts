/**
 * A store whose index and bulk bytes are rows of a database on a PostgreSQL server. It reads through separate sessions; all
 * changes go through one session, which has the right to write (writer-session.ts).
 */
import type { Added, Capabilities, Checking, ConnectionState, Pinning, Space, Sums } from '../capabilities.ts'
import { ReadOnlyError, StoreError } from '../errors.ts'
import { formatTid, type Tid } from '../ids.ts'
import type { Committer } from '../indexed/committer.ts'
import { IndexedChecking } from '../indexed/check/checking.ts'
import { IndexedStore } from '../indexed/indexed-store.ts'
import { KEPT_MOMENTS, parseKeptMoments } from '../indexed/kept-moments-note.ts'
import { IndexedMeasuring } from '../indexed/measuring.ts'
import type { PackWriter } from '../indexed/pack/pack-writer.ts'
import type { PackStep, PackStepResult } from '../indexed/pack/pack-steps.ts'
import { IndexedPacking } from '../indexed/pack/packing.ts'
import { DatabaseClock } from '../indexed/database-clock.ts'
import { IndexedRetaining } from '../indexed/retaining.ts'
import { IndexedRevisionReader } from '../indexed/revision-reader.ts'
import { WriteHalf } from '../indexed/write-half.ts'
import { isKept, type KeptMoments } from '../kept-moments.ts'
import { Polling } from '../polling.ts'
import type { NewTransaction, OidRange, ReadOnlyStore, WritableStore } from '../store.ts'
import type { PostgresAddress } from './address.ts'
import { Anchor, momentsOf, PINNED } from './anchor.ts'
import { PostgresBulkReader } from './postgres-bulk.ts'
import { PostgresChecked } from './postgres-checking.ts'
import { ConnectionLostError, explainQuery } from './postgres-errors.ts'
import { PostgresIndex } from './postgres-index.ts'
import { PostgresIndexScan } from './postgres-index-scan.ts'
import { ReadSessions } from './read-sessions.ts'
import type { Session } from './session.ts'
import type { WriterSession } from './writer-session.ts'

/** Options of both kinds of store. */
export interface PostgresParts {
  readonly name: string
  readonly address: PostgresAddress
  /** The database's id. */
  readonly id: string
  /** An open session. */
  readonly session: Session
  /** Receives a sentence when the connection is lost, is restored, or this writer is fenced. */
  readonly report: (message: string) => void
}

abstract class PostgresReads extends IndexedStore {
  abstract readonly readOnly: boolean
  protected readonly sessions: ReadSessions
  protected readonly anchor: Anchor
  protected readonly measuring = new IndexedMeasuring(this)
  protected readonly retaining = new IndexedRetaining(this)
  protected readonly checking: Checking
  protected readonly dating = new DatabaseClock(this)
  readonly #address: PostgresAddress
  readonly #scan: PostgresIndexScan
  readonly #explain: (error: unknown) => unknown
  #isClosed = false

  constructor({ name, address, id, session, report }: PostgresParts) {
    const sessions = new ReadSessions(address, session, message => report(`${name}: ${message}`))
    const explain = (error: unknown): unknown => explainQuery(error, name)
    super({ name, index: new PostgresIndex(sessions), bulk: new PostgresBulkReader(sessions), explain })
    this.sessions = sessions
    this.anchor = new Anchor(address)
    this.#address = address
    this.checking = new IndexedChecking(
      new PostgresChecked({ name, address, id, openReader: () => this.openSource(), explain }),
    )
    this.#scan = new PostgresIndexScan(sessions)
    this.#explain = explain
  }

  protected readonly pinning: Pinning = {
    pin: moments => this.#ask(() => this.#pin(moments)),
    pinned: () => this.#ask(async () => momentsOf(await this.sessions.query(PINNED))),
  }

  async isKept(at: Tid): Promise<boolean> {
    return isKept(await this.keptMoments(), at)
  }

  /** The moments that the last pack kept. */
  async keptMoments(): Promise<KeptMoments> {
    return parseKeptMoments(await this.note(KEPT_MOMENTS))
  }

  note(name: string): Promise<string | undefined> {
    return this.#ask(() => this.#scan.note(name))
  }

  abstract setNote(name: string, value: string): Promise<void>

  /** As {@link Measuring.added}. */
  added(after: Tid, upTo: Tid): Promise<Added> {
    return this.#ask(() => this.#scan.added(after, upTo))
  }

  /** As {@link Measuring.sums}. */
  sums(): Promise<Sums> {
    return this.#ask(() => this.#scan.sums())
  }

  async space(): Promise<Space> {
    const source = this.openSource()
    try {
      return await source.space()
    } finally {
      source.close()
    }
  }

  /** The server does not report it. */
  availableBytes(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  /** A reader with separate sessions. */
  openSource(): IndexedRevisionReader {
    const sessions = new ReadSessions(this.#address, undefined, () => undefined)
    return new IndexedRevisionReader({
      index: new PostgresIndex(sessions),
      scan: new PostgresIndexScan(sessions),
      bulk: new PostgresBulkReader(sessions),
      explain: this.#explain,
      close: () => sessions.close(),
    })
  }

  override async close(): Promise<void> {
    await super.close()
    if (this.#isClosed) return
    this.#isClosed = true
    this.sessions.close()
    await this.anchor.close()
  }

  /** A pack writes the note of kept moments before it reads pins, and a pin is set before the note is read: at least one sees the other. */
  async #pin(moments: readonly Tid[]): Promise<boolean> {
    const isPinned = await this.anchor.pin(moments)
    const kept = await this.keptMoments()
    const forgotten = moments.find(moment => !isKept(kept, moment))
    if (forgotten !== undefined)
      throw new StoreError(
        `${this.name}: transaction ${formatTid(forgotten)} was forgotten by a pack: open it again`,
      )
    return isPinned
  }

  async #ask<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new StoreError(`${this.name} is closed`)
    try {
      return await ask()
    } catch (error) {
      throw this.#explain(error)
    }
  }
}

/** A database opened for reading, beside its writer if there is one. */
export class PostgresStore extends PostgresReads implements ReadOnlyStore {
  readonly readOnly = true
  readonly capabilities: Capabilities = {
    connection: { state: () => this.sessions.state },
    watching: new Polling(
      () => this.lastTid(),
      onHint => this.anchor.listen(onHint),
    ),
    pinning: this.pinning,
    retaining: this.retaining,
    dating: this.dating,
    measuring: this.measuring,
    checking: this.checking,
    copying: this.copying,
  }

  setNote(): Promise<void> {
    return Promise.reject(new ReadOnlyError(`${this.name} is open for reading only`))
  }
}

/** A database opened for writing: the only such store until its writer is fenced. */
export class WritablePostgresStore extends PostgresReads implements WritableStore {
  readonly readOnly = false
  readonly capabilities: Capabilities
  readonly #writer: WriterSession
  readonly #packWriter: PackWriter
  readonly #writing: WriteHalf
  /** Settles when all commits and steps requested so far have settled. */
  #last: Promise<unknown> = Promise.resolve()
  #isClosing = false

  constructor(parts: PostgresParts, writer: WriterSession, committer: Committer, packWriter: PackWriter) {
    super(parts)
    const { name } = parts
    this.#writer = writer
    this.#packWriter = packWriter
    this.#writing = new WriteHalf({
      name,
      lastTid: committer.lastTid,
      nextOid: committer.nextOid,
      commit: (transaction, nextOid) =>
        this.#queue(() => this.#change(() => committer.commit(transaction, nextOid))),
      clock: this.dating,
      spill: (changes, nextOid, tid) =>
        this.#queue(() => this.#change(() => committer.spill(changes, nextOid, tid))),
      dropSpilled: () => this.#queue(() => this.#change(() => committer.dropSpilled())),
      intents: undefined,
      describeWaiting: (base, count) =>
        `${name} has ${count} synced changes that are not in a transaction yet (after ${formatTid(base)})`,
    })
    this.capabilities = {
      connection: { state: () => this.#state },
      pinning: this.pinning,
      packing: new IndexedPacking(this),
      retaining: this.retaining,
      dating: this.dating,
      spilling: this.#writing.spilling,
      measuring: this.measuring,
    }
  }

  allocateOids(count: number): Promise<OidRange> {
    return this.#writing.allocateOids(count)
  }

  commit(transaction: NewTransaction): Promise<Tid> {
    return this.#writing.commit(transaction)
  }

  /** Runs a step of a pack between two commits. Work after the last step delays no commit. */
  async packStep(step: PackStep): Promise<PackStepResult> {
    if (this.#isClosing) throw new StoreError(`${this.name} is closed`)
    const run = (): Promise<PackStepResult> => this.#packWriter.run(step)
    try {
      return await (step.kind === 'settle' ? run() : this.#queue(run))
    } catch (error) {
      throw explainQuery(error, this.name)
    }
  }

  async setNote(name: string, value: string): Promise<void> {
    await this.packStep({ kind: 'note', name, value })
  }

  override async close(): Promise<void> {
    this.#writing.close()
    await this.#writing.settled()
    this.#isClosing = true
    await this.#last
    await super.close()
    await this.#writer.close()
  }

  get #state(): ConnectionState {
    return this.#writer.state.state === 'connected' ? this.sessions.state : this.#writer.state
  }

  /** When a commit rejects because its connection was lost, the transaction was not stored: retries it. */
  async #change<T>(change: () => Promise<T>): Promise<T> {
    try {
      return await change().catch((error: unknown) => {
        if (error instanceof ConnectionLostError) return change()
        throw error
      })
    } catch (error) {
      throw explainQuery(error, this.name)
    }
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => undefined)
    return done
  }
}
