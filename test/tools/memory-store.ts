/** A store in memory: the contract at its plainest, with a switch that makes commits fail or wait. */
import { setImmediate as turn } from 'node:timers/promises'
import { ConflictError, StoreError } from '../../store/errors.ts'
import { oid, tid, TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import type { Capabilities, Intents } from '../../store/capabilities.ts'
import { readSlicesInTurn } from '../../store/read-slices.ts'
import type {
  ChangeSet,
  NewTransaction,
  OidRange,
  RecordSource,
  Revision,
  RevisionPart,
  SliceRead,
  TransactionInfo,
  WritableStore,
} from '../../store/store.ts'

export class MemoryStore implements WritableStore {
  readonly name = 'memory'
  readonly readOnly = false
  readonly isForeign = false
  /** Called before each commit; what it throws, the commit throws. */
  beforeCommit: (transaction: NewTransaction) => Promise<void> = () => Promise.resolve()
  /** What was asked for. */
  readonly reads = { records: 0, bytes: 0, calls: 0 }
  readonly #revisions = new Map<Oid, Revision[]>()
  readonly #sets: ChangeSet[] = []
  #lastTid: Tid = TID_NONE
  #nextOid = 1
  #entries: Uint8Array[] = []
  /** Whether the intent log has room. */
  hasRoom = true
  readonly capabilities: Capabilities = {}

  /** @param options.hasIntents whether there is an intent log. */
  constructor({ hasIntents = false } = {}) {
    if (!hasIntents) return
    const intents: Intents = {
      read: () => Promise.resolve({ entries: this.#entries, isDamaged: false }),
      add: async entry => {
        const { hasRoom } = this
        if (hasRoom) this.#entries.push(entry)
        await turn()
        return hasRoom
      },
    }
    this.capabilities = { intents }
  }

  /** What the next process would find if this one died now. */
  found(): MemoryStore {
    const found = new MemoryStore({ hasIntents: this.capabilities.intents !== undefined })
    for (const [oid, revisions] of this.#revisions) found.#revisions.set(oid, [...revisions])
    found.#sets.push(...this.#sets)
    found.#lastTid = this.#lastTid
    found.#nextOid = this.#nextOid
    found.#entries = [...this.#entries]
    return found
  }

  load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    this.reads.calls++
    return Promise.resolve(
      oids.map(oid => {
        const revision = this.#find(oid, at)
        this.reads.records++
        this.reads.bytes += revision?.record.length ?? 0
        return revision
      }),
    )
  }

  loadPart(oid: Oid, at: Tid, off: number, len: number): Promise<RevisionPart | undefined> {
    this.reads.calls++
    const revision = this.#find(oid, at)
    if (revision === undefined) return Promise.resolve(undefined)
    const bytes = revision.record.subarray(off, off + len)
    this.reads.bytes += bytes.length
    return Promise.resolve({ tid: revision.tid, size: revision.record.length, bytes })
  }

  readSlices(reads: readonly SliceRead[]): Promise<void> {
    return readSlicesInTurn(this, reads)
  }

  revisions(oid: Oid): Promise<readonly Tid[]> {
    return Promise.resolve((this.#revisions.get(oid) ?? []).map(({ tid }) => tid).toReversed())
  }

  lastTid(): Promise<Tid> {
    return Promise.resolve(this.#lastTid)
  }

  // eslint-disable-next-line require-yield
  async *transactions(): AsyncIterable<TransactionInfo> {
    await Promise.reject(new StoreError('a store in memory keeps no log'))
  }

  async *changes(after: Tid, upTo: Tid = this.#lastTid): AsyncIterable<ChangeSet> {
    await Promise.resolve()
    yield* this.#sets.filter(({ tid }) => tid > after && tid <= upTo)
  }

  async allocateOids(count: number): Promise<OidRange> {
    await turn()
    const first = oid(this.#nextOid)
    this.#nextOid += count
    return { first, count }
  }

  async commit(transaction: NewTransaction): Promise<Tid> {
    await this.beforeCommit(transaction)
    for (const { oid, base } of transaction.changes) {
      const current = this.#find(oid, this.#lastTid)?.tid ?? TID_NONE
      if (current !== base) throw new ConflictError(oid, base, current)
    }
    if (transaction.changes.length === 0) return this.#lastTid
    this.#lastTid = tid(this.#lastTid + 1n)
    this.#entries = []
    for (const { oid, record } of transaction.changes) {
      const revisions = this.#revisions.get(oid) ?? []
      if (record !== null) revisions.push({ tid: this.#lastTid, record: this.#assemble(record) })
      this.#revisions.set(oid, revisions)
    }
    this.#sets.push({ tid: this.#lastTid, oids: transaction.changes.map(({ oid }) => oid) })
    return this.#lastTid
  }

  /** Sets a record as it is, to damage a database. */
  damage(oid: Oid, record: Uint8Array | undefined): void {
    const revisions = this.#revisions.get(oid) ?? []
    const last = revisions.pop()
    if (record !== undefined && last !== undefined) revisions.push({ tid: last.tid, record })
    this.#revisions.set(oid, revisions)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  #find(oid: Oid, at: Tid): Revision | undefined {
    return this.#revisions.get(oid)?.findLast(({ tid }) => tid <= at)
  }

  #assemble({ head, body, tail }: RecordSource): Uint8Array {
    const pieces = [head]
    if (body !== undefined && 'oid' in body) {
      const from = this.#revisions.get(body.oid)?.find(({ tid }) => tid === body.tid)
      if (from === undefined) throw new StoreError(`there is no revision of ${body.oid} to share`)
      if (body.off + body.len > from.record.length)
        throw new StoreError(`a slice of ${body.oid} reaches too far`)
      pieces.push(from.record.subarray(body.off, body.off + body.len))
    } else pieces.push(...(body ?? []))
    if (tail !== undefined) pieces.push(tail)
    return Uint8Array.from(Buffer.concat(pieces))
  }
}
