/** Errors of an S3 server and its connection, and their conversion into the store's errors. */
import { StoreError, messageOf, systemCode } from '../errors.ts'

/** The server's answer to a request is an error. */
export class S3AnswerError extends Error {
  override readonly name = 'S3AnswerError'
  readonly status: number
  /** As `NoSuchKey`; empty if the server gave none. */
  readonly code: string

  constructor(status: number, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** The connection failed, the server was too slow, or its answer ended early: the same request may succeed. */
export class S3ConnectionError extends Error {
  override readonly name = 'S3ConnectionError'
}

/** There is no object with the key, or it is shorter than its segment. */
export class ObjectMissingError extends Error {
  override readonly name = 'ObjectMissingError'
}

/** Codes of answers whose cause is temporary. Servers send them with various statuses. */
const PASSING_CODES = new Set([
  'SlowDown',
  'RequestTimeout',
  'InternalError',
  'ServiceUnavailable',
  'Throttling',
  'ThrottlingException',
  'TooManyRequests',
  'RequestLimitExceeded',
  'OperationAborted',
  // The body changed on its way.
  'BadDigest',
  'IncompleteBody',
])

/** Whether a request may succeed when it is sent again. */
export const isPassing = (error: unknown): boolean =>
  error instanceof S3ConnectionError ||
  (error instanceof S3AnswerError &&
    (PASSING_CODES.has(error.code) || error.status === 429 || (error.status >= 500 && error.status !== 501)))

/** Whether other credentials may be accepted. */
export const isAboutCredentials = (error: unknown): boolean =>
  error instanceof S3AnswerError && (error.status === 401 || error.status === 403)

const CREDENTIALS =
  'they are read from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from ~/.aws/credentials (AWS_PROFILE names the profile)'

/** @param place the place of bulk bytes, as an S3 URL. */
export function explainS3(error: unknown, place: string): unknown {
  if (error instanceof S3ConnectionError)
    return new StoreError(
      `the S3 server of ${place} does not answer (${systemCode(error.cause) ?? messageOf(error)})`,
      { code: 's3-gone', cause: error },
    )
  if (!(error instanceof S3AnswerError)) return error
  const { status, code, message } = error
  const report = code === '' ? `status ${status}` : `${code}: ${message}`
  if (code === 'NoSuchBucket')
    return new StoreError(`the S3 server of ${place} has no such bucket: create it`, {
      code: 's3-lacks-bucket',
      cause: error,
    })
  if (code === 'RequestTimeTooSkewed')
    return new StoreError(`the S3 server of ${place} refuses the time of this machine: set its clock`, {
      code: 's3-forbids',
      cause: error,
    })
  if (isAboutCredentials(error))
    return new StoreError(`the S3 server of ${place} refuses the credentials (${report}): ${CREDENTIALS}`, {
      code: 's3-forbids',
      cause: error,
    })
  if (isPassing(error))
    return new StoreError(`the S3 server of ${place} is out of order (${report})`, {
      code: 's3-gone',
      cause: error,
    })
  return new StoreError(`the S3 server of ${place} refuses a request (${report})`, {
    code: 's3-unfit',
    cause: error,
  })
}

export const noCredentials = (place: string): StoreError =>
  new StoreError(`there are no credentials for ${place}: ${CREDENTIALS}`, { code: 's3-forbids' })
