/** What a merge does. Paths are relative to the root, one character per byte. */
import type { Oid } from '../../store/ids.ts'
import type { ByteRange } from '../history/file-difference.ts'

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
  | { readonly kind: 'create'; readonly path: string; readonly inode: Oid; readonly isDirectory: boolean }
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
    }

export interface MergePlan {
  readonly steps: readonly MergeStep[]
  readonly conflicts: readonly MergeConflict[]
}
