/**
 * Forces minor garbage collections, so that buffers returned by SQLite do not pile up.
 *
 * These buffers lie outside V8's heap, which sees only a few small objects and no reason to collect them: by the time
 * it does, tens of megabytes of dead buffers are resident, and new ones are allocated from memory that is in no CPU
 * cache. A collection of the young generation takes less than a millisecond, and the same memory is reused.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads'

const EVERY_BYTES = 16 << 20
/** After this time without work a thread collects its garbage: longer than the main thread takes to drop what it shares with it. */
const IDLE_MS = 11_000
/** Tells the threads of a process that it has forced collections. */
const IN_PROCESS = 'zblkfs: collections are forced'

type Collect = (options: { readonly type: 'minor' | 'major'; readonly flavor?: 'last-resort' }) => void

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
  setEnvironmentData(IN_PROCESS, true)
}

/**
 * For another thread: collects all garbage each time that the thread has been idle for a while, if its process has forced
 * collections. Shared memory that the main thread has dropped is freed when no thread refers to it. Returns a function to call
 * after each piece of work.
 */
export function collectWhenIdle(): () => void {
  if (getEnvironmentData(IN_PROCESS) !== true) return () => undefined
  paceCollections()
  const timer = setTimeout(shrinkHeap, IDLE_MS).unref()
  return () => void timer.refresh()
}

/** Collects all garbage of this thread, if {@link paceCollections} was called: takes up to a tenth of a second. */
export function collectAll(): void {
  collect?.({ type: 'major' })
}

/** As {@link collectAll}, and returns the pages of the heap that are free then: V8 keeps them otherwise. Takes two collections. */
export function shrinkHeap(): void {
  collect?.({ type: 'major', flavor: 'last-resort' })
}

/** Records `length` bytes of short-lived buffers; from time to time forces a collection. */
export function recordShortLived(length: number): void {
  bytes += length
  if (bytes < EVERY_BYTES) return
  bytes = 0
  collect?.({ type: 'minor' })
}
