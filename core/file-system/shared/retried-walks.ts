/**
 * The path walks that the kernel repeats because an open failed with ESTALE, by thread.
 *
 *     open ──ESTALE──▶ lookup of each name of the path ──▶ open of the inode that was found last
 *
 * The lookups see everything that was done before the program called open(2), so the second open may have what they found, even if
 * another mount has replaced the name since. Without this an open could fail as often as names are replaced. A thread that opens
 * the same inode again without a lookup has no path but a descriptor (/proc/self/fd).
 *
 * Threads of other pid namespaces all have the number 0.
 */
import type { Ino } from '../operations.ts'

/** Within this time the kernel repeats a walk. */
const RETRY_MS = 1000

export class RetriedWalks {
  /** What each thread may open, oldest first. */
  readonly #walks = new Map<number, { readonly ino: Ino; readonly untilMs: number }>()

  /** An open of an inode fails with ESTALE. */
  begin(thread: number, ino: Ino): void {
    const nowMs = performance.now()
    for (const [other, { untilMs }] of this.#walks) {
      if (untilMs > nowMs) break
      this.#walks.delete(other)
    }
    // Not set alone, which would keep its place.
    this.#walks.delete(thread)
    this.#walks.set(thread, { ino, untilMs: nowMs + RETRY_MS })
  }

  /** A lookup has found an inode, or none. */
  found(thread: number, ino: Ino | undefined): void {
    const walk = this.#walks.get(thread)
    if (walk === undefined) return
    if (ino === undefined) this.#walks.delete(thread)
    else this.#walks.set(thread, { ...walk, ino })
  }

  /** An open of an inode begins. @returns whether a repeated walk has led to it; undefined if none was repeated. */
  end(thread: number, ino: Ino): boolean | undefined {
    const walk = this.#walks.get(thread)
    if (walk === undefined) return undefined
    this.#walks.delete(thread)
    return walk.ino === ino && walk.untilMs > performance.now()
  }
}
