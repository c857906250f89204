/**
 * Locks of files in tables of the server (file-lock-schema.ts). While a lock conflicts, the request is repeated at intervals, and when a
 * notification says that a file was unlocked.
 *
 * The owners of locks of this writer are kept in memory, so that closing a file without locks costs nothing, and to know which locks were
 * lost with an epoch. A request whose answer is lost is repeated: locking and unlocking are idempotent.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type FileLock,
  type FileLocking,
  type HeldLock,
  type LockOwner,
  type LockRange,
} from '../file-locking.ts'
import { CannotOpenError, StoreError, WriterGoneError } from '../errors.ts'
import type { Oid } from '../ids.ts'
import { DROP_ENDED_FILE_LOCKS, FILE_LOCKS, HAS_FILE_LOCKS, MAY_LOCK_FILES } from './file-lock-schema.ts'
import type { LeaseSession } from './lease-session.ts'
import type { PostgresAddress } from './address.ts'
import { isDuplicate, isForbidden } from './postgres-errors.ts'
import { Session, type Value } from './session.ts'
import { bigintOf, numberOf } from './values.ts'
import type { WriterSession } from './writer-session.ts'

const LOCK = 'SELECT zblkfs.lock_file($1, $2, $3, $4::smallint, $5, $6, $7, $8, $9)'
const UNLOCK = 'SELECT zblkfs.unlock_file($1, $2, $3, $4::smallint, $5, $6)'
const TEST =
  'SELECT epoch, start, last, exclusive, pid FROM zblkfs.test_file_lock($1, $2, $3, $4::smallint, $5, $6, $7)'
const GIVE_UP = 'DELETE FROM zblkfs.file_lock_wait WHERE epoch = $1 AND owner = $2'
const UNLOCK_RETRY_MS = 1000
/** How long a lock waits for an earlier unlocking by the same owner that the server has not answered. */
const UNLOCK_WAIT_MS = 60_000

export interface FileLocksParts {
  /** The database's name, for messages. */
  readonly name: string
  readonly address: PostgresAddress
  readonly lease: LeaseSession
  readonly writer: WriterSession
  readonly report: (message: string) => void
}

/** What an owner has, or may have, of an object. */
interface Held {
  readonly oid: Oid
  readonly ranges: readonly LockRange[]
}

/** The key of an owner's locks of one object. */
const keyOf = (oid: Oid, { kind, id }: LockOwner): string => `${oid} ${kind} ${id}`

export class PostgresFileLocks implements FileLocking {
  readonly #parts: FileLocksParts
  /** Which owners have locks, by {@link keyOf}. */
  #held = new Map<string, Held>()
  /** The same of locks that were lost. */
  readonly #lost = new Map<string, Held>()
  /** What is unlocked later, by {@link keyOf}. */
  readonly #unlocking = new Map<string, Promise<void>>()
  #epoch: bigint

  constructor(parts: FileLocksParts) {
    this.#parts = parts
    this.#epoch = parts.writer.epoch
  }

  async start(): Promise<void> {
    const session = await Session.open(this.#parts.address)
    try {
      await this.#makeTables(session)
      const [[may] = []] = await session.query(MAY_LOCK_FILES)
      if (may !== 't') throw this.#forbidden()
      await session.query(DROP_ENDED_FILE_LOCKS)
    } finally {
      session.close()
    }
  }

  async #makeTables(session: Session): Promise<void> {
    try {
      const [[has] = []] = await session.query(HAS_FILE_LOCKS)
      if (has !== 't') await session.query(`BEGIN; ${FILE_LOCKS} COMMIT`)
    } catch (error) {
      await session.query('ROLLBACK')
      // Another mount has made them meanwhile.
      if (isDuplicate(error)) return
      throw isForbidden(error) ? this.#forbidden(error) : error
    }
  }

  #forbidden(cause?: unknown): CannotOpenError {
    const { name, address } = this.#parts
    return new CannotOpenError(
      `${name} cannot be mounted with locks=global by the user ${address.user}: let its owner mount it once with this option, then grant this user INSERT, UPDATE and DELETE on all tables in the schema zblkfs`,
      { code: 'server-forbids', path: name, cause },
    )
  }

  async lock(
    oid: Oid,
    owner: LockOwner,
    lock: FileLock,
    signal?: AbortSignal,
  ): Promise<'locked' | 'busy' | 'deadlock' | 'aborted'> {
    const { lease } = this.#parts
    const { isExclusive, pid } = lock
    const key = keyOf(oid, owner)
    for (;;) {
      if (!(await this.#untilUnlocked(key, signal))) return 'aborted'
      this.#findLost()
      const epoch = this.#epoch
      // Before the request, as its answer may be lost.
      this.#held.set(key, { oid, ranges: [...without(this.#held.get(key)?.ranges ?? [], lock), lock] })
      const values = [...valuesOf(oid, owner, lock), String(isExclusive), pid, String(signal !== undefined)]
      const [answer] = await lease.ask(LOCK, 'lock_file', values)
      // Before the answer, the writer may have rejoined with another epoch.
      if (this.#parts.writer.epoch !== epoch) continue
      if (answer === 'locked' || answer === 'deadlock') return answer
      if (signal === undefined) return 'busy'
      if (signal.aborted) {
        if (owner.kind === 'fcntl') await lease.ask(GIVE_UP, 'give_up_file', [BigInt.asIntN(64, owner.id)])
        return 'aborted'
      }
      await lease.untilNotified('changed', signal)
    }
  }

  async unlock(oid: Oid, owner: LockOwner, range: LockRange): Promise<void> {
    this.#findLost()
    const key = keyOf(oid, owner)
    for (const held of [this.#lost, this.#held]) remove(held, key, range)
    const epoch = this.#epoch
    try {
      await this.#parts.lease.ask(UNLOCK, 'unlock_file', valuesOf(oid, owner, range))
    } catch (error) {
      if (error instanceof WriterGoneError) return
      this.#parts.report(
        `${this.#parts.name}: a lock of a file is released later, as the server does not answer`,
      )
      const earlier = this.#unlocking.get(key)
      const unlocking = Promise.all([earlier, this.#unlockLater(epoch, oid, owner, range)]).then(() => {
        if (this.#unlocking.get(key) === unlocking) this.#unlocking.delete(key)
      })
      this.#unlocking.set(key, unlocking)
    }
  }

  async test(oid: Oid, owner: LockOwner, lock: FileLock): Promise<HeldLock | undefined> {
    const { lease, writer } = this.#parts
    const [holder, start, last, exclusive, pid] = await lease.ask(TEST, 'test_file_lock', [
      ...valuesOf(oid, owner, lock),
      String(lock.isExclusive),
    ])
    if (holder == null) return undefined
    return {
      start: bigintOf(start),
      last: bigintOf(last),
      isExclusive: exclusive === 't',
      pid: numberOf(pid),
      isOwn: bigintOf(holder) === writer.epoch,
    }
  }

  /** Whether an owner may have locks. */
  hasLocks(oid: Oid, owner: LockOwner): boolean {
    const key = keyOf(oid, owner)
    return this.#held.has(key) || this.#lost.has(key)
  }

  isLost(oid: Oid): boolean {
    this.#findLost()
    if (this.#lost.size === 0) return false
    for (const lost of this.#lost.values()) if (lost.oid === oid) return true
    return false
  }

  forget(oid: Oid): void {
    this.#findLost()
    for (const [key, lost] of this.#lost) if (lost.oid === oid) this.#lost.delete(key)
  }

  /** The locks of an earlier epoch are lost. */
  #findLost(): void {
    const epoch = this.#parts.writer.epoch
    if (epoch === this.#epoch) return
    this.#epoch = epoch
    if (this.#held.size === 0) return
    for (const [key, { oid, ranges }] of this.#held)
      this.#lost.set(key, { oid, ranges: [...(this.#lost.get(key)?.ranges ?? []), ...ranges] })
    this.#held = new Map()
    this.#parts.report(
      `${this.#parts.name}: locks of ${new Set([...this.#lost.values()].map(({ oid }) => oid)).size} files were lost, because this mount was cut off: they cannot be written until the programs that had them unlock or close them`,
    )
  }

  /** Waits for an earlier unlocking, which would release the new lock. @returns false if it was aborted meanwhile. @throws StoreError */
  async #untilUnlocked(key: string, signal: AbortSignal | undefined): Promise<boolean> {
    const unlocking = this.#unlocking.get(key)
    if (unlocking === undefined) return true
    const timer = new AbortController()
    const signals = signal === undefined ? timer.signal : AbortSignal.any([timer.signal, signal])
    const isLate = sleep(UNLOCK_WAIT_MS, true, { signal: signals, ref: false }).catch(() => false)
    try {
      if (!(await Promise.race([unlocking.then(() => false), isLate]))) return signal?.aborted !== true
    } finally {
      timer.abort()
    }
    throw new StoreError(`the server of ${this.#parts.name} has not released an earlier lock`, {
      code: 'server-gone',
    })
  }

  async #unlockLater(epoch: bigint, oid: Oid, owner: LockOwner, range: LockRange): Promise<void> {
    while (this.#parts.writer.epoch === epoch && !this.#parts.lease.isClosed) {
      await sleep(UNLOCK_RETRY_MS, undefined, { ref: false })
      try {
        await this.#parts.lease.ask(UNLOCK, 'unlock_file', valuesOf(oid, owner, range))
        return
      } catch (error) {
        if (!(error instanceof StoreError) || error instanceof WriterGoneError) return
      }
    }
  }
}

/** Removes a range of what an owner has. */
function remove(held: Map<string, Held>, key: string, range: LockRange): void {
  const found = held.get(key)
  if (found === undefined) return
  const ranges = without(found.ranges, range)
  if (ranges.length === 0) held.delete(key)
  else held.set(key, { ...found, ranges })
}

/** Ranges without the bytes of another one. */
const without = (ranges: readonly LockRange[], { start, last }: LockRange): readonly LockRange[] =>
  ranges.flatMap(each => [
    ...(each.start < start ? [{ start: each.start, last: each.last < start ? each.last : start - 1n }] : []),
    ...(each.last > last ? [{ start: each.start > last ? each.start : last + 1n, last: each.last }] : []),
  ])

const valuesOf = (oid: Oid, { kind, id }: LockOwner, { start, last }: LockRange): readonly Value[] => [
  BigInt.asIntN(64, id),
  oid,
  kind === 'fcntl' ? 0 : 1,
  start,
  last,
]
