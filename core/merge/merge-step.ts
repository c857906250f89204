/** What a merge does. Paths are relative to the root, one character per byte. */
import type { Oid } from '../../store/ids.ts'
import type { ByteRange } from '../history/file-difference.ts'
import { depthOf } from '../history/paths.ts'
import { ScratchList } from '../../store/scratch-list.ts'

/** A change of the branch that cannot be merged. */
export interface MergeConflict {
  /** The path in the branch; for something that it removed, the path before. */
  readonly path: string
  readonly reason: string
}

/**
 * - `create`: a file, directory or symbolic link of the branch, `inode`, which the database does not have;
 * - `link`: another name of a file that the database has at `from`;
 * - `move`: from `from`, a path of the database before the merge, to `path`, a path after it;
 * - `remove`: `path` is one of the database before the merge;
 * - `change`: bytes and attributes of a file or directory, from `inode` of the branch, at `path` after the merge.
 */
export type MergeStep =
  | {
      readonly kind: 'create'
      readonly path: string
      readonly inode: Oid
      readonly isDirectory: boolean
      readonly xattrs: readonly string[]
    }
  | { readonly kind: 'link'; readonly path: string; readonly from: string }
  | { readonly kind: 'move'; readonly path: string; readonly from: string }
  | { readonly kind: 'remove'; readonly path: string; readonly isDirectory: boolean }
  | {
      readonly kind: 'change'
      readonly path: string
      readonly inode: Oid
      readonly ranges: readonly ByteRange[]
      /** Mode, uid, gid, size, mtime. */
      readonly attributes: readonly string[]
      /** The extended attributes that become those of `inode`, one character per byte. */
      readonly xattrs: readonly string[]
    }

export type StepOf<Kind extends MergeStep['kind']> = Extract<MergeStep, { readonly kind: Kind }>

/** What a merge does and leaves, on disk where it does not fit into memory. Close it. */
export class MergePlan {
  readonly conflicts = new ScratchList<MergeConflict>()
  readonly #steps = new ScratchList<MergeStep>()

  /** In the order in which they were planned. */
  get steps(): Iterable<MergeStep> & { readonly length: number } {
    return this.#steps
  }

  addStep(step: MergeStep): void {
    this.#steps.add(step, step.kind, depthOf(step.path))
  }

  addConflict(conflict: MergeConflict): void {
    this.conflicts.add(conflict)
  }

  /** The steps of a kind, by the depth of their paths. */
  ascending<Kind extends MergeStep['kind']>(kind: Kind): Iterable<StepOf<Kind>> {
    return this.#steps.ascending(kind) as Iterable<StepOf<Kind>>
  }

  /** The steps of a kind, the deepest paths first. */
  descending<Kind extends MergeStep['kind']>(kind: Kind): Iterable<StepOf<Kind>> {
    return this.#steps.descending(kind) as Iterable<StepOf<Kind>>
  }

  clear(): void {
    this.#steps.clear()
    this.conflicts.clear()
  }

  close(): void {
    this.#steps.close()
    this.conflicts.close()
  }
}
