/**
 * The operations of a process on its part of a mount, in order, to determine which of them a crash has preserved.
 *
 * - `states[k]` is the tree after k operations. The last operation may not have returned.
 * - Times are of the machine's monotonic clock, which all processes share.
 * - The model is copied (contents shared) every {@link CHECKPOINT_OPERATIONS}, so that going back replays few operations.
 */
import type { Operation, TreeModel } from '../../test/crash/tree-model.ts'

const CHECKPOINT_OPERATIONS = 200

interface Entry {
  readonly operation: Operation
  readonly startMs: number
  /** Infinity if it has not returned. */
  endMs: number
}

/** The operations found in a tree. */
export interface Kept {
  /** Their number; undefined if the tree matches no state since the last sync. */
  readonly count: number | undefined
  /** The required minimum. */
  readonly synced: number
  readonly lost: number
  /** When the first certainly lost operation returned; Infinity if none is lost. */
  readonly firstLostEndMs: number
  /** When the last certainly preserved operation began; 0 if there is none. */
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
  /** Number of operations that are certainly stored. */
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

  /** Records an operation and applies it to the model; to be called before the mount performs it. */
  begin(operation: Operation): void {
    this.#entries.push({ operation, startMs: monotonicMs(), endMs: Number.POSITIVE_INFINITY })
    this.#model.apply(operation)
    this.#states.push(this.#model.hash)
    if (this.#entries.length % CHECKPOINT_OPERATIONS === 0)
      this.#checkpoints.push({ count: this.#entries.length, model: this.#model.clone() })
  }

  /** To be called when the current operation has returned. */
  end(): void {
    const entry = this.#entries.at(-1)
    if (entry !== undefined) entry.endMs = monotonicMs()
  }

  /** Number of operations. */
  get length(): number {
    return this.#entries.length
  }

  /** Marks everything so far as stored and drops the earlier history. Returns when the storing operation began. */
  settle(): number {
    const startMs = this.#entries.at(-1)?.startMs ?? 0
    this.#entries = []
    this.#states = [this.#model.hash]
    this.#stored = this.#model.clone()
    this.#checkpoints = []
    this.#synced = 0
    return startMs
  }

  /** Marks all operations that had returned at this time as stored. */
  noteSynced(timeMs: number): void {
    while ((this.#entries[this.#synced]?.endMs ?? Number.POSITIVE_INFINITY) <= timeMs) this.#synced++
  }

  /**
   * The operations that a tree contains. If several counts lead to the same tree (an operation may be a no-op), operations
   * after the highest count are certainly lost, and those up to the lowest are certainly preserved.
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

  /** The state closest to the actual tree, and the differing paths, for diagnosis. */
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

  /** Resets to the tree after the given number of operations. */
  goBack(count: number): void {
    const stored = { count: 0, model: this.#stored }
    const before = this.#checkpoints.findLast(checkpoint => checkpoint.count <= count) ?? stored
    for (const { operation } of this.#entries.slice(before.count, count)) before.model.apply(operation)
    this.#model = before.model
    this.settle()
  }

  /** The operations `[from, to)`, one line each. */
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
