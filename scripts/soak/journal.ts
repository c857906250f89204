/**
 * The operations of a process on its part of a mount, in order, to find out which of them a crash has left.
 *
 * - `states[k]` is the tree after k operations. The last operation may be one that never returned.
 * - Times are of the machine's monotonic clock, which all processes share.
 * - The model is copied (contents shared) every {@link CHECKPOINT_OPERATIONS}, so that going back replays few operations.
 */
import type { Operation, TreeModel } from '../../test/crash/tree-model.ts'

const CHECKPOINT_OPERATIONS = 200

interface Entry {
  readonly operation: Operation
  readonly startMs: number
  /** Infinity: it has not returned. */
  endMs: number
}

/** The operations that were found in a tree. */
export interface Kept {
  /** How many; none if the tree is none that there was since what is synced. */
  readonly count: number | undefined
  /** How many had to be there. */
  readonly synced: number
  readonly lost: number
  /** When the first operation that is surely gone had returned; Infinity where there is none. */
  readonly firstLostEndMs: number
  /** When the last operation that is surely there was begun; 0 if there is none. */
  readonly lastKeptStartMs: number
}

/** Now, in milliseconds of the machine's monotonic clock. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6

export class Journal {
  #model: TreeModel
  #entries: Entry[] = []
  #states: bigint[]
  /** The tree before all operations. */
  #stored: TreeModel
  #checkpoints: { readonly count: number; readonly model: TreeModel }[] = []
  /** How many operations are surely stored. */
  #synced = 0

  constructor(model: TreeModel) {
    this.#model = model
    this.#stored = model.clone()
    this.#states = [model.hash]
  }

  /** The tree with all operations done. */
  get model(): TreeModel {
    return this.#model
  }

  /** Notes an operation and does it to the model; to be called before it is done to the mount. */
  begin(operation: Operation): void {
    this.#entries.push({ operation, startMs: monotonicMs(), endMs: Number.POSITIVE_INFINITY })
    this.#model.apply(operation)
    this.#states.push(this.#model.hash)
    if (this.#entries.length % CHECKPOINT_OPERATIONS === 0)
      this.#checkpoints.push({ count: this.#entries.length, model: this.#model.clone() })
  }

  /** The operation under way has returned. */
  end(): void {
    const entry = this.#entries.at(-1)
    if (entry !== undefined) entry.endMs = monotonicMs()
  }

  /** How many operations there are. */
  get length(): number {
    return this.#entries.length
  }

  /** Everything so far is stored: what led to it is forgotten. When the operation that stored it was begun. */
  settle(): number {
    const startMs = this.#entries.at(-1)?.startMs ?? 0
    this.#entries = []
    this.#states = [this.#model.hash]
    this.#stored = this.#model.clone()
    this.#checkpoints = []
    this.#synced = 0
    return startMs
  }

  /** Everything that had returned at this time is stored. */
  noteSynced(timeMs: number): void {
    while ((this.#entries[this.#synced]?.endMs ?? Number.POSITIVE_INFINITY) <= timeMs) this.#synced++
  }

  /**
   * Which operations a tree has. Where several numbers of them lead to the same tree (an operation may change nothing),
   * neither those of the highest that are missing nor those of the lowest that are there are in doubt.
   */
  find(hash: bigint): Kept {
    const last = this.#states.lastIndexOf(hash)
    const first = this.#states.indexOf(hash, this.#synced)
    const isFound = last >= this.#synced
    const count = isFound ? last : undefined
    const done = this.#entries.filter(({ endMs }) => endMs < Number.POSITIVE_INFINITY).length
    return {
      count,
      synced: this.#synced,
      lost: Math.max(0, done - last),
      firstLostEndMs: this.#entries[last]?.endMs ?? Number.POSITIVE_INFINITY,
      lastKeptStartMs: isFound ? (this.#entries[first - 1]?.startMs ?? 0) : 0,
    }
  }

  /** The state that differs least from what is there, and the paths where it does: to find out what happened. */
  nearest(found: ReadonlyMap<string, bigint>): { readonly count: number; readonly paths: readonly string[] } {
    const model = this.#stored.clone()
    let nearest: { readonly count: number; readonly paths: readonly string[] } | undefined
    for (let count = 0; count <= this.#entries.length; count++) {
      const hashes = model.hashes()
      const paths = [...new Set([...found.keys(), ...hashes.keys()])].filter(
        path => found.get(path) !== hashes.get(path),
      )
      if (nearest === undefined || paths.length <= nearest.paths.length) nearest = { count, paths }
      const next = this.#entries[count]
      if (next !== undefined) model.apply(next.operation)
    }
    return nearest ?? { count: 0, paths: [] }
  }

  /** Goes back to the tree after the given number of operations, and begins anew there. */
  goBack(count: number): void {
    const stored = { count: 0, model: this.#stored }
    const before = this.#checkpoints.findLast(checkpoint => checkpoint.count <= count) ?? stored
    for (const { operation } of this.#entries.slice(before.count, count)) before.model.apply(operation)
    this.#model = before.model
    this.settle()
  }

  /** The operations `[from, to)`, a line each. */
  describe(from: number, to: number): string {
    return this.#entries
      .slice(Math.max(0, from), to)
      .map(
        ({ operation, startMs, endMs }, i) =>
          `${Math.max(0, from) + i} [${startMs.toFixed(1)}, ${endMs.toFixed(1)}] ${JSON.stringify(operation)}`,
      )
      .join('\n')
  }
}
