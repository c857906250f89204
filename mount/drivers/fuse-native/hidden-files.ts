/**
 * Files that are unlinked while they are open.
 *
 * libfuse works by path and does not unlink an open file: it renames it to `.fuse_hidden` and 16 hex digits in the
 * same directory and unlinks that at the last close. Here that rename is done as the unlink that it replaces, and
 * the hidden name is kept in a table, with one reference to the inode, until libfuse unlinks it. So the name never
 * reaches the database, and none is left after a crash. The table holds at most as many entries as files are open.
 *
 * The name is unique on a mount, so it is found even if the directories above it are renamed. A directory from which such
 * a file was unlinked cannot be removed until the file is closed: otherwise libfuse would have no path for the file.
 */
import type { Ino } from '../../../core/file-system/operations.ts'
import { splitPath } from './paths.ts'

const HIDDEN_NAME = /^\.fuse_hidden[0-9a-f]{16}$/

interface HiddenFile {
  readonly ino: Ino
  readonly parent: Ino
}

export class HiddenFiles {
  readonly #files = new Map<string, HiddenFile>()

  get isEmpty(): boolean {
    return this.#files.size === 0
  }

  /** Whether a path's last component is such a name. */
  static isHidden(path: string): boolean {
    return HIDDEN_NAME.test(splitPath(path).last)
  }

  /** Keeps an inode, unlinked from `parent`, under a path. */
  add(path: string, ino: Ino, parent: Ino): void {
    this.#files.set(splitPath(path).last, { ino, parent })
  }

  /** Whether a file was unlinked from a directory and is still open. */
  isIn(directory: Ino): boolean {
    return [...this.#files.values()].some(({ parent }) => parent === directory)
  }

  /** The inode that is hidden under a path. */
  get(path: string): Ino | undefined {
    return this.isEmpty ? undefined : this.#files.get(splitPath(path).last)?.ino
  }

  /** Removes a path; returns the inode that was hidden under it. */
  take(path: string): Ino | undefined {
    const ino = this.get(path)
    if (ino !== undefined) this.#files.delete(splitPath(path).last)
    return ino
  }
}
