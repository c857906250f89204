/** Counts calls of each operation, and bytes read and written. */
import type { Operations } from './operations.ts'

export type OperationName = keyof Operations

export class OperationCounts {
  readonly #counts = new Map<OperationName, number>()
  bytesRead = 0
  bytesWritten = 0

  count(name: OperationName): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
  }

  /** The counts by operation, in order of names. */
  get byName(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}
