/** Recursive operations on a tree, one step after the other. */
import { FileError } from './file-error.ts'
import { bytesOf, SLASH, textOf, type Path } from './path.ts'
import type { Dirent, Stats } from './stats.ts'

/** The operations of Files that they use. */
interface TreeFiles {
  mkdir(path: Path, options: { readonly mode: number }): Promise<void>
  rmdir(path: Path): Promise<void>
  unlink(path: Path): Promise<void>
  stat(path: Path): Promise<Stats>
  opendir(path: Path): AsyncIterable<Dirent>
}

/** Makes a directory and its parents; existing directories are not an error. */
export async function makeDirectories(files: TreeFiles, path: Path, mode: number): Promise<void> {
  const names = bytesOf(path).toString('latin1').split('/')
  for (let count = 1; count <= names.length; count++) {
    const part = Buffer.from(names.slice(0, count).join('/') || '/', 'latin1')
    try {
      await files.mkdir(part, { mode })
    } catch (error) {
      if (!(error instanceof FileError) || error.code !== 'EEXIST') throw error
      if (!(await files.stat(part)).isDirectory())
        throw new FileError(count === names.length ? 'EEXIST' : 'ENOTDIR', {
          syscall: 'mkdir',
          path: textOf(path),
        })
    }
  }
}

/** Removes a directory and its contents without recursion: each directory is listed from its start until it is empty. */
export async function removeTree(files: TreeFiles, path: Path): Promise<void> {
  const stack = [bytesOf(path)]
  for (let directory = stack.at(-1); directory !== undefined; directory = stack.at(-1)) {
    let below: Buffer | undefined
    for await (const entry of files.opendir(directory)) {
      const inside = Buffer.concat([directory, SLASH, entry.nameBytes])
      if (entry.isDirectory()) {
        below = inside
        break
      }
      await files.unlink(inside)
    }
    if (below !== undefined) stack.push(below)
    else {
      await files.rmdir(directory)
      stack.pop()
    }
  }
}
