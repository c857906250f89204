/** How often each operation was asked for, and how many bytes went which way. */
import type { Operations } from './operations.ts'

export type OperationName = keyof Operations

export class OperationCounts {
  readonly #counts = new Map<OperationName, number>()
  bytesRead = 0
  bytesWritten = 0

  count(name: OperationName): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
  }

  /** By name, in order. */
  get byName(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}
