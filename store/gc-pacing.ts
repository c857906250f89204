/**
 * Forces minor garbage collections, so that buffers returned by SQLite do not pile up.
 *
 * These buffers lie outside V8's heap, which sees only a few small objects and no reason to collect them: by the time
 * it does, tens of megabytes of dead buffers are resident, and new ones are allocated from memory that is in no CPU
 * cache. A collection of the young generation takes less than a millisecond, and the same memory is reused.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const EVERY_BYTES = 16 << 20

type Collect = (options: { readonly type: 'minor' | 'major' }) => void

let collect: Collect | undefined
let bytes = 0

/**
 * Enables forced collections in this thread. It briefly sets a V8 flag, which is global to the process, so only our own
 * processes call it, not the SDK.
 */
export function paceCollections(): void {
  setFlagsFromString('--expose-gc')
  collect = runInNewContext('globalThis.gc') as Collect | undefined
  setFlagsFromString('--no-expose-gc')
}

/** Collects all garbage of this thread, if {@link paceCollections} was called: takes up to a tenth of a second. */
export function collectAll(): void {
  collect?.({ type: 'major' })
}

/** Records `length` bytes of short-lived buffers; from time to time forces a collection. */
export function recordShortLived(length: number): void {
  bytes += length
  if (bytes < EVERY_BYTES) return
  bytes = 0
  collect?.({ type: 'minor' })
}
