import Database from 'better-sqlite3'
import { shown } from '../side-files.ts'
import { NoSpaceError, StoreError } from '../errors.ts'

/**
 * Converts an error of SQLite to a StoreError. StoreErrors and programming errors (TypeError and the like) pass
 * unchanged.
 */
export function storeError(error: unknown, openedBy: string): unknown {
  const path = shown(openedBy)
  if (isSystemError(error)) return systemError(error, path)
  if (!(error instanceof Database.SqliteError)) return error
  const { code, message } = error
  if (isFull(error) || code === 'SQLITE_IOERR_SHMSIZE') return noSpace(path, error)
  if (code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB') {
    return new StoreError(`${path} is damaged (${message})`, { code: 'damaged', path, cause: error })
  }
  if (code.startsWith('SQLITE_IOERR')) {
    return new StoreError(`reading or writing ${path} failed (${message}, ${code}): check its disk`, {
      cause: error,
    })
  }
  return new StoreError(`${path}: ${message} (${code})`, { cause: error })
}

/** Whether a transaction did not fit into the WAL: then nothing of it will be found there. */
export const isFull = (error: unknown): boolean =>
  error instanceof Database.SqliteError && error.code === 'SQLITE_FULL'

/** The error of a failed system call on a file of the log. */
interface SystemError extends Error {
  readonly code: string
  readonly syscall: string
}

const isSystemError = (error: unknown): error is SystemError =>
  error instanceof Error && 'syscall' in error && 'code' in error

const systemError = (error: SystemError, path: string): StoreError =>
  error.code === 'ENOSPC' || error.code === 'EDQUOT'
    ? noSpace(path, error)
    : new StoreError(
        `reading or writing the log of ${path} failed (${shown(error.message)}): check its disk`,
        {
          cause: error,
        },
      )

const noSpace = (path: string, cause: Error): NoSpaceError =>
  new NoSpaceError(`no space left for ${path}: what was committed is safe; free some space to continue`, {
    path,
    cause,
  })
