/** Turns what goes wrong when a database is opened into an error that says why, and what to do. */
import { constants } from 'node:fs'
import { accessSync } from '../../os-files.ts'
import { dirname } from 'node:path'
import { CannotOpenError, type ErrorCode, StoreError, systemCode } from '../../errors.ts'
import { SideFileError } from '../../side-files.ts'
import { notADatabase } from './not-a-database.ts'

/** Runs `open`; turns any error into one that says why `path` cannot be opened. */
export function explain<T>(path: string, open: () => T): T {
  try {
    return open()
  } catch (error) {
    throw asCannotOpen(error, path)
  }
}

/** The error that says why `path` cannot be opened. */
export function asCannotOpen(error: unknown, path: string): unknown {
  if (error instanceof CannotOpenError || !(error instanceof Error)) return error
  if (error instanceof SideFileError)
    return new CannotOpenError(`${path} cannot be opened: ${error.message}`, { cause: error, path })
  // An error of the writer's thread already has its path and reason.
  if (error instanceof StoreError)
    return new CannotOpenError(error.message, { cause: error, code: error.code, path })
  const code = systemCode(error) ?? ''
  if (code === 'SQLITE_NOTADB') return notADatabase(path, 'it is not a SQLite database')
  return new CannotOpenError(`${path} cannot be opened: ${reason(code, error.message, dirname(path))}`, {
    cause: error,
    code: codeOf(code, dirname(path)),
    path,
  })
}

function codeOf(code: string, directory: string): ErrorCode {
  if (isDamage(code)) return 'damaged-file'
  if (isOutOfRoom(code)) return 'no-space'
  return isOnReadOnlyMedium(code, directory) ? 'read-only-medium' : 'cannot-open'
}

const isOutOfRoom = (code: string): boolean =>
  ['ENOSPC', 'EDQUOT', 'SQLITE_FULL', 'SQLITE_IOERR_SHMSIZE'].includes(code)

const isDamage = (code: string): boolean => code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_ERROR'

const isOnReadOnlyMedium = (code: string, directory: string): boolean =>
  code === 'EROFS' || (code === 'SQLITE_CANTOPEN' && isReadOnly(directory))

function reason(code: string, message: string, directory: string): string {
  if (isDamage(code)) return `it is damaged or cut short (${message})`
  if (isOnReadOnlyMedium(code, directory)) return 'its filesystem is read-only'
  if (code === 'EACCES' || code === 'EPERM' || code === 'SQLITE_CANTOPEN' || code === 'SQLITE_READONLY') {
    return 'permission denied; check the permissions of the file and of its directory'
  }
  if (isOutOfRoom(code)) return 'no space left; free some space'
  return `${message}${code === '' ? '' : ` (${code})`}; check the path and the disk`
}

function isReadOnly(directory: string): boolean {
  try {
    accessSync(directory, constants.W_OK)
    return false
  } catch (error) {
    return systemCode(error) === 'EROFS'
  }
}
