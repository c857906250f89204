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

/** What {@link WritablePostgresStore.open} makes. */
interface WritableParts {
  readonly lease: LeaseSession | undefined
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
  readonly #lease: LeaseSession | undefined
  /** How often the lease had changed when this store released it. */
  #releasedAt: number | undefined
  #isHolder = true
  /** Settles when all releases requested so far have been answered. */
  #released: Promise<unknown> = Promise.resolve()
  /** Settles when all commits and steps requested so far have settled. */
  #last: Promise<unknown> = Promise.resolve()
  #isClosing = false

  private constructor(
    parts: PostgresParts,
    writer: WriterSession,
    { sessions, halves, writers, lease, seals }: WritableParts,
  ) {
    super(parts, sessions, halves, seals)
    const { name } = parts
    const { committer } = writers
    this.#writer = writer
    this.#writers = writers
    this.#lease = lease
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
      ...(lease !== undefined && {
        leasing: this.#leasing(lease),
        fileLocking: new PostgresFileLocks({
          name,
          lease,
          writer,
          address: parts.address,
          report: parts.report,
        }),
        watching: new Polling(
          // The holder commits all there is.
          async () => (this.#isHolder ? this.#writers.committer.lastTid : await this.lastTid()),
          onHint => this.anchor.listen(onHint),
        ),
      }),
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
    await lease?.take()
    const { address, remote } = parts
    const sessions = sessionsFor(parts)
    // Its own transactions in parts are read through the same store.
    const seals =
      parts.access === undefined || parts.access === 'keyless' ? undefined : sealsFor(parts.access)
    const halves = halvesOver(sessions, remote, seals, true)
    const { forgetFrom: onCut } = halves
    const writers = await openWriters({ writer, address, queries: sessions, remote, onCut, seals })
    return new WritablePostgresStore(parts, writer, { sessions, halves, writers, lease, seals })
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
      if (step.kind !== 'settle') return await this.#queue(run)
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
    await this.#lease?.close()
    await this.#writer.close()
  }

  #leasing(lease: LeaseSession): Leasing {
    return {
      acquire: () => this.ask(() => this.#acquire(lease)),
      release: () => this.ask(() => this.#release(lease)),
      settle: () => this.ask(() => lease.settle()),
      isAlone: () => this.ask(() => lease.isAlone()),
      isConfirmed: () => lease.isConfirmed,
      confirm: () => this.ask(() => lease.confirm()),
      watch: ({ onRecall, onFenced }) => {
        lease.onRecall = onRecall
        this.#writer.onFenced = error => {
          this.#isHolder = false
          onFenced?.(error)
        }
      },
      rejoin: () =>
        this.ask(async () => {
          await this.#writer.rejoin()
          this.#isHolder = false
          this.#releasedAt = undefined
        }),
    }
  }

  #release(lease: LeaseSession): Promise<void> {
    const released = this.#queue(async () => {
      this.#isHolder = false
      this.#releasedAt = await lease.release()
    })
    this.#released = released.catch(() => undefined)
    return released
  }

  async #acquire(lease: LeaseSession): Promise<Tid> {
    // A release that is sent after the request would free the lease that it grants.
    await this.#released
    const grants = await lease.take()
    return await this.#queue(async () => {
      const { committer } = this.#writers
      // Others may have committed, unless the lease was only freed, and taken again.
      const isUnchanged = this.#releasedAt !== undefined && grants === this.#releasedAt + 1
      if (!this.#isHolder && !isUnchanged) {
        await committer.resume()
        this.#writing.resume(committer.lastTid, committer.nextOid)
      }
      this.#isHolder = true
      return committer.lastTid
    })
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
