import { MAX_TRANSFER_BYTES } from './abi/init.ts'

/** Maximum number of free buffers that are kept. */
const KEPT = 8

/** Buffers for the replies to reads, reused to spare the garbage collector. */
export class ReadBuffers {
  readonly #free: Uint8Array[] = []

  /** A buffer of {@link MAX_TRANSFER_BYTES}, not cleared. */
  take(): Uint8Array {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(MAX_TRANSFER_BYTES)
  }

  giveBack(buffer: Uint8Array): void {
    if (this.#free.length < KEPT) this.#free.push(buffer)
  }
}
