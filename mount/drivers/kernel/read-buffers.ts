import { MAX_TRANSFER_BYTES } from './abi/init.ts'

/** How many are kept for later. */
const KEPT = 8

/** Memory for what is read, until the kernel has it: used again and again rather than left to the garbage collection. */
export class ReadBuffers {
  readonly #free: Uint8Array[] = []

  /** A buffer of the longest transfer's length, with whatever was in it. */
  take(): Uint8Array {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(MAX_TRANSFER_BYTES)
  }

  giveBack(buffer: Uint8Array): void {
    if (this.#free.length < KEPT) this.#free.push(buffer)
  }
}
