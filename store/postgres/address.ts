/**
 * The address of a database on a PostgreSQL server, as a URL of libpq's form:
 *
 *     postgres://USER@HOST:PORT/NAME?sslmode=verify-full
 *     postgres:///NAME?host=/run/postgresql            a Unix socket, by its directory
 *
 * Omitted parts come from PGHOST, PGPORT, PGUSER, PGDATABASE and PGSSLMODE, or are libpq's defaults. A password is refused: every
 * user of the machine can read command lines.
 */
import { userInfo } from 'node:os'
import { CannotOpenError } from '../errors.ts'

const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
export type SslMode = (typeof SSL_MODES)[number]

export interface PostgresAddress {
  /** A host's name or address, or the directory of a Unix socket, which begins with a slash. */
  readonly host: string
  readonly port: number
  readonly user: string
  /** The name of the database on the server. */
  readonly database: string
  readonly sslMode: SslMode
  /** A file of certificates; absent: the system's trusted certificates. */
  readonly sslRootCert?: string
}

const DEFAULT_PORT = 5432
const SOCKET_DIRECTORY = '/run/postgresql'
const FORM = /^postgres(?:ql)?:\/\/(?:([^@/?]*)@)?([^/?@]*)(?:\/([^?]*))?(?:\?(.*))?$/s
const HOST = /^(\[[0-9A-Fa-f:.%]+\]|[^:[\],]*)(?::(\d{1,5}))?$/
const PARAMETERS = new Set(['host', 'port', 'user', 'dbname', 'sslmode', 'sslrootcert'])
const FORMS = 'postgres://USER@HOST/NAME, or postgres:///NAME?host=/SOCKET/DIRECTORY'

/** Whether a name of a database is such a URL. */
export const isPostgresUrl = (name: string): boolean => /^postgres(?:ql)?:/i.test(name)

/** @throws CannotOpenError if the URL has another form, or a password. */
export function parseAddress(url: string, env: NodeJS.ProcessEnv = process.env): PostgresAddress {
  const parts = FORM.exec(url)
  if (parts === null) throw new CannotOpenError(`${withoutPassword(url)} is not a URL of the form ${FORMS}`)
  const [, credentials = '', authority = '', path = '', query = ''] = parts
  if (credentials.includes(':') || /(^|&)password=/i.test(query)) throw passwordRefused(url)
  const parameters = parametersOf(url, query)
  const place = HOST.exec(authority)
  if (place === null) throw new CannotOpenError(`${url}: '${authority}' is not a host, or a host and a port`)
  const user = first(decoded(url, credentials), parameters.get('user'), env['PGUSER']) ?? userInfo().username
  const sslRootCert = first(parameters.get('sslrootcert'), env['PGSSLROOTCERT'])
  return {
    host:
      first(parameters.get('host'), decoded(url, unbracketed(place[1] ?? '')), env['PGHOST']) ??
      SOCKET_DIRECTORY,
    port: portOf(url, first(place[2], parameters.get('port'), env['PGPORT'])),
    user,
    database: first(decoded(url, path), parameters.get('dbname'), env['PGDATABASE']) ?? user,
    sslMode: sslModeOf(url, first(parameters.get('sslmode'), env['PGSSLMODE'])),
    ...(sslRootCert !== undefined && { sslRootCert }),
  }
}

/** The canonical URL of an address, with all parts: equal for every spelling of it. */
export function formatAddress({ host, port, user, database, sslMode, sslRootCert }: PostgresAddress): string {
  const isSocket = host.startsWith('/')
  const query = [
    ...(isSocket ? [`host=${encodePath(host)}`] : []),
    ...(isSocket && port !== DEFAULT_PORT ? [`port=${port}`] : []),
    ...(sslMode === 'prefer' ? [] : [`sslmode=${sslMode}`]),
    ...(sslRootCert === undefined ? [] : [`sslrootcert=${encodePath(sslRootCert)}`]),
  ]
  const shown = host.includes(':') ? `[${host}]` : encodeURIComponent(host)
  const authority = isSocket ? '' : `${shown}${port === DEFAULT_PORT ? '' : `:${port}`}`
  const name = `postgres://${encodeURIComponent(user)}@${authority}/${encodeURIComponent(database)}`
  return query.length === 0 ? name : `${name}?${query.join('&')}`
}

/** The server's location, for messages. */
export const serverOf = ({ host, port }: PostgresAddress): string =>
  host.startsWith('/') ? `${host}/.s.PGSQL.${port}` : `${host}:${port}`

/** A URL for messages, without the text in the position of a password. */
const withoutPassword = (url: string): string =>
  url.replace(/^([a-z]+:\/*[^@/?:]*):[^@/]*@/i, '$1:...@').replace(/(password=)[^&]*/gi, '$1...')

const passwordRefused = (url: string): CannotOpenError =>
  new CannotOpenError(
    `${withoutPassword(url)} has a password, which every user of this machine could read in the list of processes: ` +
      'put it into ~/.pgpass (host:port:database:user:password, mode 0600), or into the environment as PGPASSWORD',
  )

function parametersOf(url: string, query: string): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>()
  for (const part of query.split('&')) {
    if (part === '') continue
    const equals = part.indexOf('=')
    const name = decoded(url, equals < 0 ? part : part.slice(0, equals))
    if (!PARAMETERS.has(name))
      throw new CannotOpenError(
        `${url} has a parameter '${name}', which zblkfs does not support: it supports ${[...PARAMETERS].join(', ')}`,
      )
    parameters.set(name, equals < 0 ? '' : decoded(url, part.slice(equals + 1)))
  }
  return parameters
}

const first = (...values: readonly (string | undefined)[]): string | undefined =>
  values.find(value => value !== undefined && value !== '')

const unbracketed = (host: string): string => (host.startsWith('[') ? host.slice(1, -1) : host)

/** Leaves slashes unescaped for legibility: they have no meaning in the value of a parameter. */
const encodePath = (path: string): string => path.split('/').map(encodeURIComponent).join('/')

function decoded(url: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new CannotOpenError(`${url}: '${text}' is not a URL's encoding`)
  }
}

function portOf(url: string, text: string | undefined): number {
  if (text === undefined) return DEFAULT_PORT
  const port = Number(text)
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port
  throw new CannotOpenError(`${url}: '${text}' is not a port`)
}

function sslModeOf(url: string, text = 'prefer'): SslMode {
  // `allow` prefers an unencrypted connection, and is as weak as `prefer`.
  const mode = SSL_MODES.find(known => known === (text === 'allow' ? 'prefer' : text))
  if (mode !== undefined) return mode
  throw new CannotOpenError(`${url}: sslmode=${text} is unknown: it is ${SSL_MODES.join(', ')}`)
}
