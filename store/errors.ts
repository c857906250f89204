/**
 * The project's errors, for programs and for people.
 *
 * Every error has a `code`, a stable string that survives threads, processes and releases, and a `kind`, which says
 * what the caller must do:
 *
 * | kind    | the caller must                                                                      |
 * |---------|--------------------------------------------------------------------------------------|
 * | retry   | do the same again later: an outside condition (a lock, a full disk) may have passed  |
 * | refresh | read the current state and make the change anew; never retry with the same base      |
 * | give up | change the request, or stop: repeating it cannot help                                |
 * | repair  | have the database checked: its bytes differ from what was written                    |
 *
 * A message says what failed and why. scripts/advice.ts maps the code to the command that helps. Errors cross
 * threads and sockets as a {@link WireError}; core/file-system/errno.ts maps them to errno.
 */
import { KINDS, type ErrorCode, type ErrorKind } from './error-codes.ts'
import { formatOid, formatTid, parseOid, parseTid, type Oid, type Tid } from './ids.ts'

export type { ErrorCode, ErrorKind }

/** An error's data besides its message, as strings. */
export type ErrorDetails = Readonly<Record<string, string>>

export interface CodedErrorOptions extends ErrorOptions {
  readonly code?: ErrorCode
  /** The file, directory or name that the error is about. */
  readonly path?: string
}

/** Base class of the project's errors. */
export class CodedError extends Error {
  override readonly name: string = 'CodedError'
  readonly code: ErrorCode
  readonly path: string | undefined
  constructor(message: string, { code = 'failed', path, ...options }: CodedErrorOptions = {}) {
    super(message, options)
    this.code = code
    this.path = path
  }

  get kind(): ErrorKind {
    return KINDS[this.code]
  }

  /** What another process needs to recreate this error. */
  get details(): ErrorDetails {
    return this.path === undefined ? {} : { path: this.path }
  }
}

/** An error of a store or of the object database. */
export class StoreError extends CodedError {
  override readonly name: string = 'StoreError'
}

/** Another writer changed an object after the state that this transaction was made from. */
export class ConflictError extends StoreError {
  override readonly name = 'ConflictError'
  readonly oid: Oid
  readonly base: Tid
  readonly current: Tid
  constructor(oid: Oid, base: Tid, current: Tid) {
    super(
      `object ${formatOid(oid)} was read at ${formatTid(base)} but changed by transaction ${formatTid(current)}: ` +
        'read it again and repeat the change',
      { code: 'conflict' },
    )
    this.oid = oid
    this.base = base
    this.current = current
  }

  override get details(): ErrorDetails {
    return { oid: formatOid(this.oid), base: formatTid(this.base), current: formatTid(this.current) }
  }
}

/** Further details of an error about an object. */
export interface DamageOptions extends ErrorOptions {
  /** The name of the database if it is a ZODB database: other tools check and repair it. */
  readonly foreign?: string
}

/** No object with that oid exists at that tid. */
export class ObjectNotFoundError extends StoreError {
  override readonly name = 'ObjectNotFoundError'
  readonly oid: Oid
  readonly at: Tid
  readonly foreign: string | undefined
  constructor(oid: Oid, at: Tid, { foreign, ...options }: DamageOptions = {}) {
    super(`object ${formatOid(oid)} does not exist at ${formatTid(at)}`, {
      ...options,
      code: 'object-not-found',
    })
    this.oid = oid
    this.at = at
    this.foreign = foreign
  }

  override get details(): ErrorDetails {
    return { oid: formatOid(this.oid), at: formatTid(this.at), ...foreignDetail(this.foreign) }
  }
}

/** A record's bytes differ from what was written, or are invalid for its class. */
export class CorruptRecordError extends StoreError {
  override readonly name = 'CorruptRecordError'
  readonly oid: Oid
  readonly tid: Tid
  readonly reason: string
  readonly foreign: string | undefined
  constructor(oid: Oid, tid: Tid, reason: string, { foreign, ...options }: DamageOptions = {}) {
    super(`object ${formatOid(oid)} of transaction ${formatTid(tid)} is damaged (${reason})`, {
      ...options,
      code: 'corrupt-record',
    })
    this.oid = oid
    this.tid = tid
    this.reason = reason
    this.foreign = foreign
  }

  override get details(): ErrorDetails {
    const { oid, tid, reason, foreign } = this
    return { oid: formatOid(oid), tid: formatTid(tid), reason, ...foreignDetail(foreign) }
  }
}

const foreignDetail = (foreign: string | undefined): ErrorDetails =>
  foreign === undefined ? {} : { foreign }

/** A record that was referred to cannot be read. */
export type DamageError = CorruptRecordError | ObjectNotFoundError

export const isDamageError = (error: unknown): error is DamageError =>
  error instanceof CorruptRecordError || error instanceof ObjectNotFoundError

/** The records requested in one call are too long in total: the caller must request fewer at once. */
export class TooLargeError extends StoreError {
  override readonly name = 'TooLargeError'
  constructor(maxBytes: number) {
    super(`the requested records have more than ${maxBytes} bytes together`)
  }
}

/** A change to something that is read-only. */
export class ReadOnlyError extends StoreError {
  override readonly name = 'ReadOnlyError'
  constructor(message: string, options: CodedErrorOptions = {}) {
    super(message, { code: 'read-only', ...options })
  }
}

/** The database cannot be opened: it is missing, foreign, newer, damaged, or in use. */
export class CannotOpenError extends StoreError {
  override readonly name: string = 'CannotOpenError'
  constructor(message: string, options: CodedErrorOptions = {}) {
    super(message, { code: 'cannot-open', ...options })
  }
}

/** Another process has the database open for writing. */
export class LockedError extends CannotOpenError {
  override readonly name = 'LockedError'
  readonly holder: string
  constructor(path: string, holder: string) {
    super(`${path} is in use by ${holder}`, { code: 'locked', path })
    this.holder = holder
  }

  override get details(): ErrorDetails {
    return { ...super.details, holder: this.holder }
  }
}

/** Nothing more can be stored until the database is reopened. Changes that are not stored yet are lost. */
export class WriterGoneError extends StoreError {
  override readonly name = 'WriterGoneError'
  constructor(message: string, options: CodedErrorOptions = {}) {
    super(message, { code: 'writer-gone', ...options })
  }
}

/** The database, or a file of it, was removed while it was open: its bytes exist until it is closed, so nothing closes it by itself. */
export class DatabaseGoneError extends StoreError {
  override readonly name = 'DatabaseGoneError'
  /** @param path what was removed. */
  constructor(path: string) {
    super(`${path} was removed while the database was open: nothing can be stored in it any more`, {
      code: 'database-gone',
      path,
    })
  }
}

/** The disk, or what the database may use of it, is full. Nothing committed is lost. */
export class NoSpaceError extends StoreError {
  override readonly name = 'NoSpaceError'
  constructor(message: string, options: CodedErrorOptions = {}) {
    super(message, { code: 'no-space', ...options })
  }
}

/** An error on its way to another thread or process. */
export interface WireError {
  /** An {@link ErrorCode}, or the code of another error (`EIO`); absent if it has none. */
  readonly code?: string
  readonly message: string
  readonly details: ErrorDetails
  /** The original stack; between threads only. */
  readonly stack?: string
}

export function toWire(error: unknown): WireError {
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  const code = systemCode(error)
  return {
    message,
    details: error instanceof CodedError ? error.details : {},
    ...(code !== undefined && { code }),
    ...(stack !== undefined && { stack }),
  }
}

/** The inverse of {@link toWire}: an error of the class that belongs to its code; an Error if the code is unknown. */
export function fromWire(wire: WireError): Error {
  const restored = restore(wire)
  // The original stack is more useful than this function's.
  if (wire.stack !== undefined) restored.stack = wire.stack
  return restored
}

function restore({ code, message, details }: WireError): Error {
  if (code === undefined || !Object.hasOwn(KINDS, code))
    return Object.assign(new Error(message), code === undefined ? {} : { code })
  const known = code as ErrorCode
  const options: CodedErrorOptions = {
    code: known,
    ...(details['path'] !== undefined && { path: details['path'] }),
  }
  return restoreObjectError(known, details) ?? restoreByCode(known, message, options, details)
}

/** Errors whose message is built from their details. */
function restoreObjectError(code: ErrorCode, details: ErrorDetails): Error | undefined {
  const oid = parseOid(details['oid'] ?? '')
  if (oid === undefined) return undefined
  const foreign = foreignDetail(details['foreign'])
  const [base, current, at, tid] = ['base', 'current', 'at', 'tid'].map(name => parseTid(details[name] ?? ''))
  if (code === 'conflict' && base !== undefined && current !== undefined)
    return new ConflictError(oid, base, current)
  if (code === 'object-not-found' && at !== undefined) return new ObjectNotFoundError(oid, at, foreign)
  if (code === 'corrupt-record' && tid !== undefined)
    return new CorruptRecordError(oid, tid, details['reason'] ?? '', foreign)
  return undefined
}

/** Codes that only one class has. */
const CLASSES: Readonly<
  Partial<Record<ErrorCode, new (message: string, options: CodedErrorOptions) => Error>>
> = {
  'read-only': ReadOnlyError,
  'cannot-open': CannotOpenError,
  'read-only-medium': CannotOpenError,
  'no-database': CannotOpenError,
  'empty-database': CannotOpenError,
  'not-a-database': CannotOpenError,
  'no-file-system': CannotOpenError,
  'newer-format': CannotOpenError,
  'older-format': CannotOpenError,
  'server-lacks-database': CannotOpenError,
  'server-unfit': CannotOpenError,
  'server-standby': CannotOpenError,
  'server-read-only': CannotOpenError,
  'writer-gone': WriterGoneError,
  fenced: WriterGoneError,
  'no-space': NoSpaceError,
}

function restoreByCode(
  code: ErrorCode,
  message: string,
  options: CodedErrorOptions,
  { path, holder }: ErrorDetails,
): Error {
  if (code === 'database-gone' && path !== undefined) return new DatabaseGoneError(path)
  if (code === 'locked' && path !== undefined && holder !== undefined) return new LockedError(path, holder)
  return new (CLASSES[code] ?? StoreError)(message, options)
}

/** The code of an error of Node, SQLite or this project; undefined if it has none. */
export function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** The message of an error, or the text of any other thrown value. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
