/**
 * What can go wrong below the filesystem, as errors that carry what they speak of.
 * The mount maps each class to an errno in one place; the command prints their messages as they are, so a
 * message names the thing and the next step.
 */
import { formatOid, formatTid, type Oid, type Tid } from './ids.ts'

/** Anything a store or the object database reports on purpose. */
export class StoreError extends Error {
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
    )
    this.oid = oid
    this.base = base
    this.current = current
  }
}

/** What else an error about an object may say. */
export interface DamageOptions extends ErrorOptions {
  /** The next step, where the database is not one of ours. */
  readonly advice?: string
}

const ADVICE = "run 'zblkfs fsck' on the database"

/** No object of that oid exists at that tid. */
export class ObjectNotFoundError extends StoreError {
  override readonly name = 'ObjectNotFoundError'
  readonly oid: Oid
  readonly at: Tid
  constructor(oid: Oid, at: Tid, { advice = ADVICE, ...options }: DamageOptions = {}) {
    super(`object ${formatOid(oid)} does not exist at ${formatTid(at)}: ${advice}`, options)
    this.oid = oid
    this.at = at
  }
}

/** A record's bytes are not what was written, or not what its class allows. */
export class CorruptRecordError extends StoreError {
  override readonly name = 'CorruptRecordError'
  readonly oid: Oid
  readonly tid: Tid
  readonly reason: string
  constructor(oid: Oid, tid: Tid, reason: string, { advice = ADVICE, ...options }: DamageOptions = {}) {
    super(
      `object ${formatOid(oid)} of transaction ${formatTid(tid)} is damaged (${reason}): ${advice}`,
      options,
    )
    this.oid = oid
    this.tid = tid
    this.reason = reason
  }
}

/** A change was asked of something that only reads. */
export class ReadOnlyError extends StoreError {
  override readonly name = 'ReadOnlyError'
}

/** The database cannot be opened: it is missing, foreign, newer, damaged, or in use. */
export class CannotOpenError extends StoreError {
  override readonly name = 'CannotOpenError'
}

/** Another process has the database open for writing. */
export class LockedError extends CannotOpenError {
  readonly holder: string
  constructor(path: string, holder: string) {
    super(`${path} is in use by ${holder}: unmount it there first, or mount it read-only with -o ro`)
    this.holder = holder
  }
}

/** Nothing can be stored before the database is opened anew: what is not stored yet cannot be saved. */
export class WriterGoneError extends StoreError {
  override readonly name = 'WriterGoneError'
}

/** The disk, or what the database may use of it, is full. Nothing committed is lost. */
export class NoSpaceError extends StoreError {
  override readonly name = 'NoSpaceError'
}
