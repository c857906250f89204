/**
 * Reports that a rejoin has dropped unstored changes: to every request that was storing them meanwhile, and to the next fsync of every file
 * and directory that was open then, once, as Linux does after a failed write-back. Otherwise a program would take its data for stored.
 */
import { StoreError } from '../../../store/errors.ts'
import { ErrnoError } from '../errno.ts'
import type { Handle, Handles } from '../inodes/handles.ts'
import type { Fh } from '../operations.ts'

const REASON = 'changes that were not stored were dropped when this mount rejoined'

export class DroppedChanges {
  readonly #handles: Handles
  #count = 0
  /** The handles that were open, and have not reported it. */
  readonly #unreported = new WeakSet<Handle>()

  constructor(handles: Handles) {
    this.#handles = handles
  }

  /** A rejoin drops changes. */
  note(): void {
    this.#count++
    for (const handle of this.#handles.open) this.#unreported.add(handle)
  }

  /** Runs an fsync. @param fh undefined: without a handle. @throws ErrnoError EIO */
  async fsync(work: () => Promise<void>, fh: Fh | undefined): Promise<void> {
    const count = this.#count
    const handle = fh === undefined ? undefined : this.#handles.get(fh)
    await work()
    const isUnreported = handle !== undefined && this.#unreported.delete(handle)
    if (isUnreported || this.#count !== count) throw new ErrnoError('EIO', REASON)
  }

  /** Runs work that stores everything. @throws StoreError */
  async sync<T>(work: () => Promise<T>): Promise<T> {
    const count = this.#count
    const result = await work()
    if (this.#count !== count) throw new StoreError(REASON)
    return result
  }
}
