/**
 * Collects the buffers that rows came in, before there are many of them.
 *
 * What SQLite returns lies outside of V8's heap, which sees a few small objects and no reason to collect them: by the
 * time it does, tens of megabytes of dead buffers are resident, and new ones are made of memory that no cache knows.
 * A collection of the young generation costs less than a millisecond, and the same memory is used again.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const EVERY_BYTES = 16 << 20

type Collect = (options: { readonly type: 'minor' }) => void

setFlagsFromString('--expose-gc')
const collect = runInNewContext('globalThis.gc') as Collect | undefined
setFlagsFromString('--no-expose-gc')

let bytes = 0

/** Says that buffers of so many bytes were made and are hardly used any longer. */
export function madeGarbage(length: number): void {
  bytes += length
  if (bytes < EVERY_BYTES) return
  bytes = 0
  collect?.({ type: 'minor' })
}
