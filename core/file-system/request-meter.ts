/**
 * Counts and latencies of the requests that a driver serves. Recording a request adds to a few elements of arrays: it allocates
 * nothing, and takes tens of nanoseconds.
 *
 * Latencies are counted in buckets whose bounds are powers of two: bucket `i` has those below `16 us * 2^i`, the last one all
 * others. A request's latency lasts from when it was read to when its reply was written; waiting in the kernel's queue is not
 * part of it.
 */
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { OPERATION_NAMES, OPERATION_NUMBER } from './operation-names.ts'

const { ENOENT, ENODATA, ENXIO } = constants.errno
const { lookup, getattr, getxattr, seek } = OPERATION_NUMBER
const BUCKETS = 22
const FIRST_BOUND_BITS = 4
const US_MAX = 0xffff_ffff
const ERRNO_END = 256

/** The upper bound of each bucket but the last, in seconds. */
export const BUCKET_BOUNDS_SECONDS: readonly number[] = Array.from(
  { length: BUCKETS - 1 },
  (_, i) => 2 ** (i + FIRST_BOUND_BITS) / 1e6,
)

/** The requests of one operation. */
export interface RequestFigures {
  readonly count: number
  /** Of these, answered with an error. That nothing was found ({@link findsNothing}) is not an error. */
  readonly errors: number
  readonly totalMs: number
  /** The number of requests in each bucket: {@link BUCKET_BOUNDS_SECONDS}, and the others. */
  readonly buckets: readonly number[]
}

export class RequestMeter {
  readonly #counts = new Float64Array(OPERATION_NAMES.length)
  readonly #errors = new Float64Array(OPERATION_NAMES.length)
  readonly #totalMs = new Float64Array(OPERATION_NAMES.length)
  readonly #buckets = new Float64Array(OPERATION_NAMES.length * BUCKETS)
  readonly #errnos = new Float64Array(ERRNO_END)

  /**
   * Records a request that has been answered.
   * @param operation a number of operation-names.ts.
   * @param errno positive; 0: it succeeded.
   */
  answered(operation: number, elapsedMs: number, errno: number): void {
    const bits = 32 - Math.clz32(Math.min(elapsedMs * 1000, US_MAX))
    const bucket = operation * BUCKETS + Math.min(Math.max(bits - FIRST_BOUND_BITS, 0), BUCKETS - 1)
    add(this.#counts, operation, 1)
    add(this.#totalMs, operation, elapsedMs)
    add(this.#buckets, bucket, 1)
    if (errno === 0 || findsNothing(operation, errno)) return
    add(this.#errors, operation, 1)
    add(this.#errnos, errno, 1)
  }

  /** The requests so far, by operation; operations without requests are absent. */
  requests(): Readonly<Record<string, RequestFigures>> {
    const figures: [string, RequestFigures][] = []
    for (const [operation, name] of OPERATION_NAMES.entries()) {
      const count = this.#counts[operation] ?? 0
      if (count === 0) continue
      figures.push([
        name,
        {
          count,
          errors: this.#errors[operation] ?? 0,
          totalMs: this.#totalMs[operation] ?? 0,
          buckets: [...this.#buckets.subarray(operation * BUCKETS, (operation + 1) * BUCKETS)],
        },
      ])
    }
    return Object.fromEntries(figures)
  }

  /** The number of errors by name, such as EIO. */
  errors(): Readonly<Record<string, number>> {
    const found: [string, number][] = []
    for (const [errno, count] of this.#errnos.entries())
      if (count > 0) found.push([getSystemErrorName(-errno), count])
    return Object.fromEntries(found)
  }
}

/**
 * Whether a request has only found that something does not exist: a name, an extended attribute, data or a hole after an
 * offset. Programs ask for these all the time: a shell along PATH, ls for attributes.
 */
const findsNothing = (operation: number, errno: number): boolean =>
  ((operation === lookup || operation === getattr) && errno === ENOENT) ||
  (operation === getxattr && errno === ENODATA) ||
  (operation === seek && errno === ENXIO)

const add = (to: Float64Array, index: number, value: number): void => {
  to[index] = (to[index] ?? 0) + value
}
