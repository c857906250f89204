/** Access times that are not stored yet, by inode. */
import type { Oid } from '../../../store/ids.ts'

/** Maximum number of access times in memory: about 2 MiB. */
const NOTED_MAX = 1 << 14

export class AccessTimes {
  /** In nanoseconds since 1970, oldest addition first. */
  readonly #times = new Map<Oid, bigint>()

  get(oid: Oid): bigint | undefined {
    return this.#times.size === 0 ? undefined : this.#times.get(oid)
  }

  note(oid: Oid, timeNs: bigint): void {
    this.#times.delete(oid)
    this.#times.set(oid, timeNs)
    if (this.#times.size <= NOTED_MAX) return
    for (const oldest of this.#times.keys()) return void this.#times.delete(oldest)
  }

  forget(oid: Oid): void {
    this.#times.delete(oid)
  }

  clear(): void {
    this.#times.clear()
  }

  /** At most `limit` of them, oldest addition first. */
  oldest(limit: number): (readonly [oid: Oid, timeNs: bigint])[] {
    const found: (readonly [oid: Oid, timeNs: bigint])[] = []
    for (const noted of this.#times) {
      if (found.length >= limit) break
      found.push(noted)
    }
    return found
  }
}
