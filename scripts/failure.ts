/** Errors of commands that the user caused or can correct, printed without a stack. */
import { CodedError } from '../store/errors.ts'

/** Wrong usage: exit code 2. */
export class UsageError extends CodedError {
  override readonly name = 'UsageError'
  constructor(message: string, options?: ErrorOptions) {
    super(message, { ...options, code: 'usage' })
  }
}

/** The command failed for the reason that the message gives: exit code 1. */
export class CommandError extends CodedError {
  override readonly name = 'CommandError'
}

export const EXIT_FAILURE = 1
export const EXIT_USAGE = 2
/** A transaction that met another mount's changes: it may succeed when it is repeated. As EX_TEMPFAIL. */
export const EXIT_CONFLICT = 75
