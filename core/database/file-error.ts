/** Errors of file operations, with the fields that those of node:fs have. */
import { constants } from 'node:os'
import { getSystemErrorMessage } from 'node:util'
import { NoSpaceError, ReadOnlyError } from '../../store/errors.ts'
import { ErrnoError, type ErrnoName } from '../file-system/errno.ts'

export interface FileErrorOptions extends ErrorOptions {
  readonly syscall: string
  readonly path?: string | undefined
  /** The second path of a rename, link or copy. */
  readonly dest?: string | undefined
}

/** A file operation that failed: `ENOENT: no such file or directory, open '/a'`. */
export class FileError extends Error {
  override readonly name = 'FileError'
  /** The name of the POSIX error, `ENOENT` for example. */
  readonly code: ErrnoName
  /** Its number, negative as libuv has it. */
  readonly errno: number
  readonly syscall: string
  readonly path: string | undefined
  readonly dest: string | undefined

  constructor(code: ErrnoName, { syscall, path, dest, ...options }: FileErrorOptions) {
    const errno = -constants.errno[code]
    const paths = [path, dest].filter(text => text !== undefined).map(text => `'${text}'`)
    super(
      `${code}: ${getSystemErrorMessage(errno)}, ${[syscall, paths.join(' -> ')].join(' ').trim()}`,
      options,
    )
    this.code = code
    this.errno = errno
    this.syscall = syscall
    this.path = path
    this.dest = dest
  }
}

/** A failure of the filesystem as a {@link FileError}; errors that have no POSIX name stay as they are. */
export function asFileError(error: unknown, options: FileErrorOptions): unknown {
  const code = codeOf(error)
  return code === undefined ? error : new FileError(code, { ...options, cause: error })
}

function codeOf(error: unknown): ErrnoName | undefined {
  if (error instanceof ErrnoError) return error.code
  if (error instanceof NoSpaceError) return 'ENOSPC'
  return error instanceof ReadOnlyError ? 'EROFS' : undefined
}
