import { MAX_TRANSFER_BYTES } from './abi/init.ts'

/** Maximum number of free buffers that are kept. */
const KEPT = 8
/** Maximum number of buffers in use. More reads than that at once wait: each buffer is a MiB of memory. */
const IN_USE_MAX = 48

/** Buffers for the replies to reads, reused to spare the garbage collector. */
export class ReadBuffers {
  readonly #free: Uint8Array[] = []
  readonly #waiting: ((buffer: Uint8Array) => void)[] = []
  #inUse = 0

  /** A buffer of {@link MAX_TRANSFER_BYTES}, not cleared; in the order of the calls if all are in use. */
  take(): Uint8Array | Promise<Uint8Array> {
    if (this.#inUse >= IN_USE_MAX) {
      const { promise, resolve } = Promise.withResolvers<Uint8Array>()
      this.#waiting.push(resolve)
      return promise
    }
    this.#inUse++
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(MAX_TRANSFER_BYTES)
  }

  recycle(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next !== undefined) return next(buffer)
    this.#inUse--
    if (this.#free.length < KEPT) this.#free.push(buffer)
  }
}
