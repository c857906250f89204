/** Byte-range locks of 9P clients (fcntl, flock), by inode. Programs on a mount do not see them. */
import { ErrnoError } from '../../../core/file-system/errno.ts'
import type { Ino } from '../../../core/file-system/operations.ts'
import type { Fields } from './message.ts'

export const LockType = { READ: 0, WRITE: 1, UNLOCK: 2 } as const
export const LockStatus = { SUCCESS: 0, BLOCKED: 1 } as const

export interface RangeLock {
  readonly type: number
  readonly start: bigint
  /** 0: to the end of the file. */
  readonly length: bigint
  readonly process: number
  readonly client: string
  /** The connection that holds it. */
  readonly holder: object
}

/** Locks of all connections. */
const LOCKS_MAX = 1 << 14
/** A request looks at all locks of its file. */
const LOCKS_OF_FILE_MAX = 1 << 10
/** Maximum length of a client's name. */
const CLIENT_MAX = 256

const endOf = ({ start, length }: RangeLock): bigint => (length === 0n ? 1n << 64n : start + length)
const overlap = (a: RangeLock, b: RangeLock): boolean => a.start < endOf(b) && b.start < endOf(a)
const isSameOwner = (a: RangeLock, b: RangeLock): boolean =>
  a.holder === b.holder && a.process === b.process && a.client === b.client

export class RangeLocks {
  readonly #locks = new Map<Ino, readonly RangeLock[]>()
  #count = 0

  /** The lock of another owner that keeps `wanted` from being taken. */
  conflict(ino: Ino, wanted: RangeLock): RangeLock | undefined {
    return this.#locks
      .get(ino)
      ?.find(
        held =>
          overlap(held, wanted) &&
          !isSameOwner(held, wanted) &&
          (held.type === LockType.WRITE || wanted.type === LockType.WRITE),
      )
  }

  /**
   * Takes or releases a lock; it replaces what its owner has in the range. False if another lock is in the way.
   * @throws ErrnoError ENOLCK, EINVAL
   */
  set(ino: Ino, wanted: RangeLock): boolean {
    if (wanted.client.length > CLIENT_MAX) throw new ErrnoError('EINVAL')
    if (wanted.type !== LockType.UNLOCK && this.conflict(ino, wanted) !== undefined) return false
    const kept = (this.#locks.get(ino) ?? []).flatMap(held =>
      isSameOwner(held, wanted) && overlap(held, wanted) ? without(held, wanted) : [held],
    )
    const locks = wanted.type === LockType.UNLOCK ? kept : [...kept, wanted]
    // Releasing the middle of a lock leaves one more.
    const more = locks.length - this.#countOf(ino)
    if (more > 0 && (locks.length > LOCKS_OF_FILE_MAX || this.#count + more > LOCKS_MAX))
      throw new ErrnoError('ENOLCK', 'clients have too many locks')
    this.#put(ino, locks)
    return true
  }

  /** Releases all locks of a connection. */
  release(holder: object): void {
    for (const [ino, held] of this.#locks)
      this.#put(
        ino,
        held.filter(lock => lock.holder !== holder),
      )
  }

  #countOf(ino: Ino): number {
    return this.#locks.get(ino)?.length ?? 0
  }

  #put(ino: Ino, locks: readonly RangeLock[]): void {
    this.#count += locks.length - this.#countOf(ino)
    if (locks.length > 0) this.#locks.set(ino, locks)
    else this.#locks.delete(ino)
  }
}

/** The parts of a lock outside of another one's range. */
function without(lock: RangeLock, range: RangeLock): readonly RangeLock[] {
  const [end, rangeEnd] = [endOf(lock), endOf(range)]
  return [
    ...(lock.start < range.start ? [{ ...lock, length: range.start - lock.start }] : []),
    ...(rangeEnd < end
      ? [{ ...lock, start: rangeEnd, length: lock.length === 0n ? 0n : end - rangeEnd }]
      : []),
  ]
}

/** The lock that the fields of a request describe after its type. */
export function rangeLockIn(fields: Fields, type: number, holder: object): RangeLock {
  const [start, length, process] = [fields.u64(), fields.u64(), fields.u32()]
  return { type, start, length, process, client: fields.text(), holder }
}
