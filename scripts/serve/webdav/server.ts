/** A WebDAV server: the files of a database for desktops, browsers and rclone. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import { FileError } from '../../../core/database/file-error.ts'
import type { Files } from '../../../core/database/files.ts'
import { isOwnHost } from '../../../mount/daemon/own-host.ts'
import { systemCode } from '../../../store/errors.ts'
import { listenAt, type ListenPlace } from '../listen.ts'
import type { RunningServer } from '../server.ts'
import { Locks } from './locks.ts'
import { CHANGING, HttpError, METHODS, tokensOf } from './methods.ts'
import { hrefOf, segmentsOf } from './resource-path.ts'

export interface WebdavOptions {
  readonly files: Files
  readonly readOnly: boolean
  readonly place: ListenPlace
  /** The password of any user name; absent: none is asked for. */
  readonly password?: string
  readonly log: Logger
}

/** Further connections are closed at once. */
const CONNECTIONS_MAX = 256

/** The status of an error's code; others are 500. */
const STATUS: Readonly<Record<string, number>> = {
  ENOENT: 404,
  ENOTDIR: 404,
  ELOOP: 404,
  EACCES: 403,
  EPERM: 403,
  EROFS: 403,
  EINVAL: 400,
  ENAMETOOLONG: 400,
  EISDIR: 405,
  EEXIST: 405,
  ENOTEMPTY: 409,
  EFBIG: 413,
  ENOSPC: 507,
  EDQUOT: 507,
}

/** Serves until it is closed. @throws CommandError if the place is taken. */
export async function startWebdavServer(options: WebdavOptions): Promise<RunningServer> {
  const locks = new Locks()
  const running = new Set<Promise<void>>()
  // Uploads may take hours; headers may not.
  const server = createServer({ requestTimeout: 0 }, (request, response) => {
    const work = answer(options, locks, request, response).finally(() => running.delete(work))
    running.add(work)
  })
  server.maxConnections = CONNECTIONS_MAX
  await listenAt(server, options.place)
  return {
    close: async () => {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      server.closeAllConnections()
      await Promise.all(running)
      await closed
    },
  }
}

/** Never rejects. */
async function answer(
  options: WebdavOptions,
  locks: Locks,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { files, readOnly, log } = options
  try {
    if (!isMeantForUs(options, request)) throw new HttpError(421, 'another host name')
    if (!isAuthorised(options, request)) {
      response.setHeader('www-authenticate', 'Basic realm="zblkfs", charset="UTF-8"')
      throw new HttpError(401, 'a password is needed')
    }
    const name = request.method ?? ''
    const method = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined
    if (method === undefined) throw new HttpError(405)
    const segments = segmentsOf((request.url ?? '/').replace(/[?#].*$/s, '').replace(/^https?:\/\/[^/]*/, ''))
    if (segments === undefined) throw new HttpError(400, 'this is not a path')
    if (CHANGING.has(name)) {
      if (readOnly) throw new HttpError(403, 'it is served read-only')
      const isLocking = name === 'LOCK' || name === 'COPY'
      if (!isLocking && !locks.allows(hrefOf(segments, false), tokensOf(request))) throw new HttpError(423)
    }
    await method({ files, locks, request, response, segments })
  } catch (error) {
    fail(request, response, error, log)
  }
}

function fail(request: IncomingMessage, response: ServerResponse, error: unknown, log: Logger): void {
  const isOurs = error instanceof HttpError
  const code = error instanceof FileError ? error.code : ''
  const status = isOurs ? error.status : (STATUS[code] ?? 500)
  // The client has closed the connection during its request or the answer.
  const isBroken =
    (request.destroyed && !request.complete) || systemCode(error) === 'ERR_STREAM_PREMATURE_CLOSE'
  if (status === 500 && !isBroken)
    log.error({ err: error, method: request.method }, 'a WebDAV request failed')
  if (response.headersSent) {
    response.destroy()
    return
  }
  const text = isOurs ? error.message : code
  const isXml = text.startsWith('<')
  // A body that was not read would be taken for the next request.
  if (!request.complete) response.setHeader('connection', 'close')
  response.writeHead(status, { 'content-type': isXml ? 'application/xml' : 'text/plain; charset=utf-8' })
  response.end(text === '' || isXml ? text : `${text}\n`)
}

/** Without a password a page of another site could reach this server under a name that it lets point here. */
function isMeantForUs({ place, password }: WebdavOptions, { headers }: IncomingMessage): boolean {
  if (password !== undefined || place.kind === 'socket') return true
  return isOwnHost(headers.host, place.host)
}

function isAuthorised({ password }: WebdavOptions, { headers }: IncomingMessage): boolean {
  if (password === undefined) return true
  const [, encoded = ''] = /^Basic\s+(\S+)$/i.exec(headers.authorization ?? '') ?? []
  const given = Buffer.from(encoded, 'base64')
    .toString()
    .replace(/^[^:]*:/, '')
  return timingSafeEqual(digestOf(given), digestOf(password))
}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest()
