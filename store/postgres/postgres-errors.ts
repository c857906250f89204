/** Converts errors of the server and its connection into the store's errors. */
import { DatabaseError } from 'pg'
import { CannotOpenError, NoSpaceError, StoreError, systemCode, messageOf } from '../errors.ts'
import { serverOf, type PostgresAddress } from './address.ts'

/** The connection was lost or could not be made: the outcome of the statement is unknown. */
export class ConnectionLostError extends Error {
  override readonly name = 'ConnectionLostError'
  /** The server's last SQLSTATE, if it sent one. */
  readonly sqlState: string | undefined

  constructor(message: string, cause: unknown) {
    super(message, { cause })
    this.sqlState = sqlStateOf(cause)
  }
}

/** The server ended the session on an administrator's command. */
export const ADMIN_SHUTDOWN = '57P01'

const DUPLICATE_CODES = new Set(['42P06', '42P07', '23505'])

export const sqlStateOf = (error: unknown): string | undefined =>
  error instanceof DatabaseError ? error.code : undefined

/** Whether the object to create already exists. */
export const isDuplicate = (error: unknown): boolean => DUPLICATE_CODES.has(sqlStateOf(error) ?? '')

/** Whether a privilege is missing. */
export const isForbidden = (error: unknown): boolean => sqlStateOf(error) === '42501'

/** Whether a table, a function or a schema is missing. */
export const isMissing = (error: unknown): boolean =>
  ['42P01', '3F000', '42883', '42703'].includes(sqlStateOf(error) ?? '')

/** Whether an error of a query means that the session is over. */
export function endsSession(error: unknown): boolean {
  const state = sqlStateOf(error)
  return state === undefined ? error instanceof Error && !(error instanceof TypeError) : isEndingState(state)
}

/** Shutdowns, timeouts of sessions, and failures of the connection. */
const isEndingState = (state: string): boolean =>
  /^57P0|^08/.test(state) || state === '25P03' || state === 'XX001'

/** Whether the same attempt to connect may succeed soon: the server starts, stops, or is overloaded. */
export const isPassing = (error: unknown): boolean => {
  const state = sqlStateOf(error)
  if (state !== undefined) return isEndingState(state) || state === '53300'
  return error instanceof Error && !isAboutPasswords(error) && !isAboutTls(error)
}

/** Converts an error of a query. The store's own errors and programming errors pass unchanged. */
export function explainQuery(error: unknown, name: string): unknown {
  if (error instanceof ConnectionLostError)
    return new StoreError(`the connection to ${name} is lost: ${error.message}`, {
      code: 'server-gone',
      cause: error,
    })
  if (!(error instanceof DatabaseError)) return error
  const { code = '', message } = error
  if (code === '53100')
    return new NoSpaceError(
      `no space left on the server of ${name}: what was committed is safe; free some space to continue`,
      {
        cause: error,
      },
    )
  if (isForbidden(error))
    return new StoreError(`${name}: the server forbids it (${message}): see the rights that it needs`, {
      code: 'server-forbids',
      cause: error,
    })
  if (code === 'XX001' || code === 'XX002')
    return new StoreError(`${name} is damaged on its server (${message})`, { code: 'damaged', cause: error })
  return new StoreError(`${name}: the server reports '${message}' (${code})`, { cause: error })
}

/** Why a database cannot be opened. */
export function explainConnect(error: unknown, address: PostgresAddress, name: string): CannotOpenError {
  if (error instanceof CannotOpenError) return error
  const cause = error instanceof ConnectionLostError ? error.cause : error
  const message = messageOf(cause)
  const options = { cause: error, path: name }
  const state = sqlStateOf(cause)
  if (state === '28P01' || state === '28000' || (cause instanceof Error && isAboutPasswords(cause)))
    return new CannotOpenError(
      `the server of ${name} refuses the user ${address.user} (${message}): passwords are read from ~/.pgpass ` +
        '(host:port:database:user:password, mode 0600) or from PGPASSWORD',
      { ...options, code: 'server-forbids' },
    )
  if (state === '3D000')
    return new CannotOpenError(`the server has no database ${address.database}`, {
      ...options,
      code: 'server-lacks-database',
      path: address.database,
    })
  if (state === '42501')
    return new CannotOpenError(`the user ${address.user} may not connect to ${name} (${message})`, {
      ...options,
      code: 'server-forbids',
    })
  if (state === '08P01' && message.includes('startup parameter'))
    return new CannotOpenError(
      `${name} is behind a connection pooler (${message}): connect to PostgreSQL itself`,
      {
        ...options,
        code: 'server-unfit',
      },
    )
  if (state !== undefined)
    return new CannotOpenError(
      `${name} cannot be opened: the server reports '${message}' (${state})`,
      options,
    )
  if (cause instanceof Error && isAboutTls(cause))
    return new CannotOpenError(
      `${name} cannot be opened: TLS failed (${message}): see sslmode and sslrootcert`,
      {
        ...options,
        code: 'server-unfit',
      },
    )
  return new CannotOpenError(
    `no PostgreSQL server answers at ${serverOf(address)} (${systemCode(cause) ?? message}): check the host and the port, ` +
      'and that the server runs',
    { ...options, code: 'server-gone' },
  )
}

/** pg's own errors about passwords have no code. */
const isAboutPasswords = (error: Error): boolean => /^SASL:|password/i.test(error.message)

const isAboutTls = (error: Error): boolean =>
  /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|EPROTO)/.test(systemCode(error) ?? '') ||
  /does not support SSL|SSL negotiation/i.test(error.message)
