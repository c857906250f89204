/** Counts calls of each operation, and bytes read and written. */
import { byOperation, OPERATION_NAMES, OPERATION_NUMBER, type OperationName } from './operation-names.ts'

export class OperationCounts {
  readonly #counts = new Float64Array(OPERATION_NAMES.length)
  bytesRead = 0
  bytesWritten = 0

  count(name: OperationName): void {
    const number = OPERATION_NUMBER[name]
    this.#counts[number] = (this.#counts[number] ?? 0) + 1
  }

  /** The counts by operation, in order of names. */
  get byName(): Readonly<Record<string, number>> {
    return byOperation(this.#counts)
  }
}
