/**
 * A store whose index and bulk bytes are rows of a database on a PostgreSQL server. It reads through separate sessions; all
 * changes go through one session, which has the right to write (writer-session.ts).
 */
import type { Capabilities, Checking, ConnectionState, Pinning } from '../capabilities.ts'
import type { Opener, Seals } from '../encryption/seals.ts'
import { StoreError } from '../errors.ts'
import { formatTid, type Tid } from '../ids.ts'
import { IndexedChecking } from '../indexed/check/checking.ts'
import { IndexedStore } from '../indexed/indexed-store.ts'
import type { PackStep, PackStepResult } from '../indexed/pack/pack-steps.ts'
import { IndexedPacking } from '../indexed/pack/packing.ts'
import { IndexedRevisionReader } from '../indexed/revision-reader.ts'
import { WriteHalf } from '../indexed/write-half.ts'
import { Polling } from '../polling.ts'
import type { RemoteBulk } from '../s3/remote-bulk.ts'
import { DOUBT_NOTE, doubtMessage, SegmentKeeper } from '../s3/segment-keeper.ts'
import type { Leasing } from '../leasing.ts'
import type { NewTransaction, OidRange, ReadOnlyStore, WritableStore } from '../store.ts'
import type { PostgresAddress } from './address.ts'
import { Anchor, momentsOf, PINNED } from './anchor.ts'
import { PostgresChecked } from './postgres-checking.ts'
import { PostgresFileLocks } from './file-locks.ts'
import type { LeaseSession } from './lease-session.ts'
import { halvesOver, newestEpoch, type Halves } from './open-bulk.ts'
import { encryptingOf, openerFor, sealsFor } from './server-seals.ts'
import { openWriters, type Writers } from './open-writers.ts'
import { ConnectionLostError, explainQuery } from './postgres-errors.ts'
import type { PostgresParts } from './postgres-parts.ts'
import { ReadSessions } from './read-sessions.ts'
import { StoreLease, type StoreLeaseParts } from './store-lease.ts'
import type { WriterSession } from './writer-session.ts'

abstract class PostgresReads extends IndexedStore {
  protected readonly sessions: ReadSessions
  protected readonly anchor: Anchor
  protected readonly checking: Checking
  readonly #address: PostgresAddress
  readonly #explain: (error: unknown) => unknown
  readonly #remote: RemoteBulk | undefined
  readonly #opener: Opener | undefined
  #isClosed = false

  /** @param halves the index and its Bulk. */
  constructor(
    { name, address, id, remote }: PostgresParts,
    sessions: ReadSessions,
    halves: Halves,
    opener: Opener | undefined,
  ) {
    const explain = (error: unknown): unknown => explainQuery(error, name)
    super({ name, ...halves, explain, idNote: 'id' })
    this.sessions = sessions
    this.#remote = remote
    this.#opener = opener
    this.anchor = new Anchor(address)
    this.#address = address
    this.checking = new IndexedChecking(
      new PostgresChecked({
        name,
        address,
        id,
        remote,
        opener,
        openReader: () => this.openSource(),
        explain,
      }),
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
      ...halvesOver(sessions, this.#remote, this.#opener),
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
    await this.#remote?.close()
  }

  /** The state of the connections for reading. */
  protected get readState(): ConnectionState {
    const { state } = this.sessions
    return state.state === 'connected' ? (this.#remote?.client.state ?? state) : state
  }
}

/** A database opened for reading, beside its writer if there is one. */
export class PostgresStore extends PostgresReads implements ReadOnlyStore {
  readonly readOnly = true
  readonly capabilities: Capabilities

  constructor(parts: PostgresParts) {
    const sessions = sessionsFor(parts)
    const opener = openerFor(parts.access, parts.name)
    super(parts, sessions, halvesOver(sessions, parts.remote, opener), opener)
    this.capabilities = {
      connection: { state: () => this.readState },
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
      compressing: this.compressing,
      ...encryptingOf(this, parts.access),
    }
  }
}

const sessionsFor = ({ address, session, name, report }: PostgresParts): ReadSessions =>
  new ReadSessions(address, session, message => report(`${name}: ${message}`))

/** The session about the lease, and the grant by which the store is opened. */
type Shared = Pick<StoreLeaseParts, 'session' | 'grant'>

/** What {@link WritablePostgresStore.open} makes. */
interface WritableParts {
  /** For a store that writes beside others. */
  readonly shared: Shared | undefined
  readonly sessions: ReadSessions
  readonly halves: Halves
  readonly writers: Writers
  readonly seals: Seals | undefined
}

/** A database opened for writing: the only such store until its writer is fenced, or one beside others. */
export class WritablePostgresStore extends PostgresReads implements WritableStore {
  readonly readOnly = false
  readonly capabilities: Capabilities
  readonly #writer: WriterSession
  readonly #writers: Writers
  readonly #report: (message: string) => void
  readonly #keeper: SegmentKeeper | undefined
  readonly #writing: WriteHalf
  /** Undefined if it writes alone. */
  readonly #lease: StoreLease | undefined
  /** Settles when all commits and steps requested so far have settled. */
  #last: Promise<unknown> = Promise.resolve()
  #isClosing = false

  private constructor(
    parts: PostgresParts,
    writer: WriterSession,
    { sessions, halves, writers, shared, seals }: WritableParts,
  ) {
    super(parts, sessions, halves, seals)
    const { name } = parts
    const { committer } = writers
    this.#writer = writer
    this.#writers = writers
    this.#report = parts.report
    this.#keeper = this.#startKeeper(parts, sessions, seals)
    this.#writing = new WriteHalf({
      name,
      lastTid: committer.lastTid,
      nextOid: committer.nextOid,
      commit: (transaction, nextOid) =>
        this.#queue(() => this.#change(() => committer.commit(transaction, nextOid))),
      clock: this.dating,
      spill: (changes, nextOid, tid) =>
        this.#queue(() => this.#change(() => committer.spill(changes, nextOid, tid))),
      dropSpilled: () => this.#queue(() => this.#dropSpilled()),
      intents: undefined,
      describeWaiting: (base, count) =>
        `${name} has ${count} synced changes that are not in a transaction yet (after ${formatTid(base)})`,
    })
    this.#lease = shared && this.#leaseOf(shared)
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
      compressing: this.compressing,
      ...(this.#lease && this.#sharing(parts, this.#lease)),
      ...encryptingOf(this, parts.access),
    }
  }

  /** @param lease for a store that writes beside others. @throws StoreError if the last transaction is damaged. */
  static async open(
    parts: PostgresParts,
    writer: WriterSession,
    lease: LeaseSession | undefined,
  ): Promise<WritablePostgresStore> {
    // Parts of a transaction that are dropped now must be those of a writer that is gone.
    const shared = lease && { session: lease, grant: await lease.take() }
    const { address, remote } = parts
    const sessions = sessionsFor(parts)
    // Its own transactions in parts are read through the same store.
    const seals =
      parts.access === undefined || parts.access === 'keyless' ? undefined : sealsFor(parts.access)
    const halves = halvesOver(sessions, remote, seals, true)
    const { forgetFrom: onCut } = halves
    const writers = await openWriters({ writer, address, queries: sessions, remote, onCut, seals })
    return new WritablePostgresStore(parts, writer, { sessions, halves, writers, shared, seals })
  }

  /** Records that the bucket has segments of an epoch that this database has not assigned. */
  async doubtBucket(epoch: number): Promise<void> {
    await this.setNote(DOUBT_NOTE, String(epoch))
    this.#report(doubtMessage(this.name))
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
    const run = (): Promise<PackStepResult> => this.#writers.packWriter.run(step)
    try {
      if (step.kind !== 'finish') return await this.#queue(run)
      const result = await run()
      await this.#keeper?.afterPack()
      return result
    } catch (error) {
      throw explainQuery(error, this.name)
    }
  }

  override async setNote(name: string, value: string): Promise<void> {
    await this.packStep({ kind: 'note', name, value })
  }

  override async close(): Promise<void> {
    await this.#keeper?.close()
    this.#writing.close()
    await this.#writing.settled()
    this.#isClosing = true
    await this.#last
    // Without it, failed uploads at the end are kept.
    await this.#writers.remote?.end().catch(() => undefined)
    await super.close()
    await this.#lease?.session.close()
    await this.#writer.close()
  }

  #leaseOf(shared: Shared): StoreLease {
    const { committer } = this.#writers
    return new StoreLease({
      ...shared,
      queue: work => this.#queue(work),
      resume: async () => {
        await committer.resume()
        this.#writing.resume(committer.lastTid, committer.nextOid)
      },
    })
  }

  /** What a store offers that writes beside others. */
  #sharing({ name, address, report }: PostgresParts, lease: StoreLease): Capabilities {
    const { session } = lease
    return {
      leasing: this.#leasing(lease),
      fileLocking: new PostgresFileLocks({ name, lease: session, writer: this.#writer, address, report }),
      watching: new Polling(
        // The holder commits all there is.
        async () => (lease.isHeld ? this.#writers.committer.lastTid : await this.lastTid()),
        onHint => this.anchor.listen(onHint),
      ),
    }
  }

  #leasing(lease: StoreLease): Leasing {
    const { committer } = this.#writers
    const { session } = lease
    return {
      acquire: () =>
        this.ask(async () => {
          await lease.acquire()
          return committer.lastTid
        }),
      isHolder: () => lease.isHeld,
      release: () => this.ask(() => lease.release()),
      settle: () => this.ask(() => session.settle()),
      isAlone: () => this.ask(() => session.isAlone()),
      isConfirmed: () => session.isConfirmed,
      confirm: () => this.ask(() => session.confirm()),
      watch: ({ onRecall, onFenced }) => {
        session.onRecall = onRecall
        this.#writer.onFenced = onFenced
      },
      rejoin: () =>
        this.ask(async () => {
          await this.#writer.rejoin()
          lease.forget()
        }),
    }
  }

  /** Whether it may commit, as far as it knows. */
  get #isHolder(): boolean {
    return this.#lease?.isHeld !== false
  }

  get #state(): ConnectionState {
    return this.#writer.state.state === 'connected' ? this.readState : this.#writer.state
  }

  #startKeeper(
    { remote, report }: PostgresParts,
    sessions: ReadSessions,
    seals: Seals | undefined,
  ): SegmentKeeper | undefined {
    const writers = this.#writers.remote
    if (remote === undefined || writers === undefined) return undefined
    const { databaseId, tuning, compression } = remote
    const { map, nextId } = writers
    const keeper = new SegmentKeeper({
      client: remote.newClient(),
      map,
      nextId,
      databaseId,
      compression,
      report,
      ...(tuning.ages && { ages: tuning.ages }),
      reader: halvesOver(sessions, remote, seals).bulk,
      epoch: () => Number(this.#writer.epoch),
      newestEpoch: () => newestEpoch(sessions),
      exclusive: work =>
        this.#queue(() => {
          if (!this.#isHolder) throw new StoreError('another mount has the right to write')
          return work()
        }),
      seal: seals?.segments,
      note: name => this.note(name),
      setNote: (name, value) => this.setNote(name, value),
    })
    writers.onRows = bytes => keeper.addRows(bytes)
    return keeper
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

  /** Drops the parts of all writers; only with the lease, because otherwise its holder may be writing some. */
  async #dropSpilled(): Promise<void> {
    const { committer } = this.#writers
    if (!this.#isHolder) return committer.forgetSpilled()
    // The next transaction tries again.
    await committer.dropSpilled().catch(() => undefined)
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => undefined)
    return done
  }
}
