import { CodedError } from '../../store/errors.ts'

/**
 * No daemon answers.
 *
 * - `gone`: it is dead;
 * - `silent`: it is stopped;
 * - `forbidden`: it is another user's;
 * - `unreachable`: it has no control socket that may be used. Whether it runs is not known.
 */
export class NoAnswerError extends CodedError {
  override readonly name = 'NoAnswerError'
  readonly reason: 'gone' | 'silent' | 'forbidden' | 'unreachable'
  constructor(reason: NoAnswerError['reason'], message: string, options?: ErrorOptions) {
    super(message, { ...options, code: `daemon-${reason}` })
    this.reason = reason
  }
}
