/** How the command fails: an error that a person caused or can mend, as a message without a stack. */

/** Wrong usage: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Something did not work, for a reason that the message tells: exit code 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

export const EXIT_FAILURE = 1
export const EXIT_USAGE = 2
