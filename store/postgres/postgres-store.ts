/**
 * A store whose index and bulk bytes are rows of a database on a PostgreSQL server. It reads through separate sessions; all
 * changes go through one session, which has the right to write (writer-session.ts).
 */
import type { Capabilities, Checking, ConnectionState, Pinning } from '../capabilities.ts'
import { StoreError } from '../errors.ts'
import { formatTid, type Tid } from '../ids.ts'
import type { Committer } from '../indexed/committer.ts'
import { IndexedChecking } from '../indexed/check/checking.ts'
import { IndexedStore } from '../indexed/indexed-store.ts'
import type { PackWriter } from '../indexed/pack/pack-writer.ts'
import type { PackStep, PackStepResult } from '../indexed/pack/pack-steps.ts'
import { IndexedPacking } from '../indexed/pack/packing.ts'
import { IndexedRevisionReader } from '../indexed/revision-reader.ts'
import { WriteHalf } from '../indexed/write-half.ts'
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

/** The index and the Bulk for reading. */
const halvesOver = (
  sessions: ReadSessions,
): {
  readonly index: PostgresIndex
  readonly scan: PostgresIndexScan
  readonly bulk: PostgresBulkReader
} => ({
  index: new PostgresIndex(sessions),
  scan: new PostgresIndexScan(sessions),
  bulk: new PostgresBulkReader(sessions),
})

abstract class PostgresReads extends IndexedStore {
  protected readonly sessions: ReadSessions
  protected readonly anchor: Anchor
  protected readonly checking: Checking
  readonly #address: PostgresAddress
  readonly #explain: (error: unknown) => unknown
  #isClosed = false

  constructor({ name, address, id, session, report }: PostgresParts) {
    const sessions = new ReadSessions(address, session, message => report(`${name}: ${message}`))
    const explain = (error: unknown): unknown => explainQuery(error, name)
    super({ name, ...halvesOver(sessions), explain, idNote: 'id' })
    this.sessions = sessions
    this.anchor = new Anchor(address)
    this.#address = address
    this.checking = new IndexedChecking(
      new PostgresChecked({ name, address, id, openReader: () => this.openSource(), explain }),
    )
    this.#explain = explain
  }

  protected readonly pinning: Pinning = {
    pin: moments =>
      this.ask(async () => {
        const isPinned = await this.anchor.pin(moments)
        await this.assertKept(moments)
        return isPinned
      }),
    pinned: () => this.ask(async () => momentsOf(await this.sessions.query(PINNED))),
  }

  /** A reader with separate sessions. */
  openSource(): IndexedRevisionReader {
    const sessions = new ReadSessions(this.#address, undefined, () => undefined)
    return new IndexedRevisionReader({
      ...halvesOver(sessions),
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
    lineage: this.lineage,
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
      copying: this.copying,
      lineage: this.lineage,
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

  override async setNote(name: string, value: string): Promise<void> {
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
