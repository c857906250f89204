/** The protocols of `zblkfs serve`: how each is started, and what is printed about it. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from '../../store/os-files.ts'
import { join, resolve } from 'node:path'
import type { Logger } from 'pino'
import { FileError } from '../../core/database/file-error.ts'
import type { Files } from '../../core/database/files.ts'
import { name as toName, type Operations } from '../../core/file-system/operations.ts'
import { MOMENT_PREFIX } from '../../core/file-system/reserved-names.ts'
import { isRoot } from '../../core/process-owner.ts'
import { makeControlDirectory } from '../../mount/daemon/control-path.ts'
import { startNinePServer } from './9p/server.ts'
import { type ListenPlace, placeText } from './listen.ts'
import { startNbdServer } from './nbd/server.ts'
import type { RunningServer } from './server.ts'
import { startWebdavServer } from './webdav/server.ts'
import { CommandError, UsageError } from '../failure.ts'

export interface ServeOptions {
  readonly nbd: readonly string[]
  readonly '9p'?: boolean
  readonly webdav?: boolean
  readonly passwordFile?: string
  /** False with --no-password. */
  readonly password: boolean
}

/** What a protocol serves. */
export interface Served {
  readonly files: Files
  readonly operations: Operations
  /** The tid of the moment that is served; absent: the present. */
  readonly at: string | undefined
  /** The files for NBD. */
  readonly paths: readonly string[]
  readonly readOnly: boolean
  readonly place: ListenPlace
  readonly log: Logger
  readonly options: ServeOptions
}

export interface Started {
  readonly server: RunningServer
  /** How a client connects. */
  readonly lines: readonly string[]
}

export type Protocol = 'nbd' | '9p' | 'webdav'

const LOOPBACK = '127.0.0.1'
const PORT_MAX = 65_535
const WEBDAV_PORT = 8080
const PASSWORD_BYTES = 15

/** The one protocol that the options select. @throws UsageError */
export function protocolOf(options: ServeOptions): Protocol {
  const asked: Protocol[] = [
    ...(options.nbd.length > 0 ? (['nbd'] as const) : []),
    ...(options['9p'] === true ? (['9p'] as const) : []),
    ...(options.webdav === true ? (['webdav'] as const) : []),
  ]
  const [protocol] = asked
  if (protocol === undefined || asked.length > 1)
    throw new UsageError('name one of --nbd FILE, --9p and --webdav; several commands can serve one mount')
  if (protocol !== 'webdav' && (options.passwordFile !== undefined || !options.password))
    throw new UsageError('only WebDAV has passwords')
  return protocol
}

/** Where to listen. NBD and 9P have no authentication: by default on a socket that only this user may open. */
export async function listenPlace(text: string | undefined, protocol: Protocol): Promise<ListenPlace> {
  if (text === undefined)
    return protocol === 'webdav'
      ? { kind: 'address', host: LOOPBACK, port: WEBDAV_PORT }
      : { kind: 'socket', path: join(await makeControlDirectory(), `${protocol}.${process.pid}.socket`) }
  if (text.includes('/')) return { kind: 'socket', path: resolve(text) }
  const [, host = LOOPBACK, digits] = /^(?:([^:]+|\[[^\]]+\]):)?(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === undefined || port === 0 || port > PORT_MAX)
    throw new UsageError(`--listen ${text} is not a place: write 8080, HOST:8080, or the path of a socket`)
  return { kind: 'address', host: host.replace(/^\[(.*)\]$/, '$1'), port }
}

export const PROTOCOLS: Readonly<Record<Protocol, (served: Served) => Promise<Started>>> = {
  nbd: async ({ files, paths, readOnly, place, log }) => {
    const server = await startNbdServer({ files, paths, readOnly, place, log }).catch((error: unknown) => {
      throw error instanceof FileError ? new CommandError(error.message, { cause: error }) : error
    })
    const lines = paths.map(path => `${path} is served at ${nbdUri(place, path)}`)
    return { server, lines: [...lines, ...warningOf(place)] }
  },
  '9p': async ({ operations, at, readOnly, place, log }) => {
    const base = at === undefined ? [] : [toName(`${MOMENT_PREFIX}${at}`)]
    const server = await startNinePServer({ operations, base, readOnly, place, log })
    const mount =
      place.kind === 'socket'
        ? `mount -t 9p -o trans=unix,version=9p2000.L ${place.path} DIR`
        : `mount -t 9p -o trans=tcp,port=${place.port},version=9p2000.L ${place.host} DIR`
    return { server, lines: [`served at ${placeText(place)}: ${mount}`, ...warningOf(place)] }
  },
  webdav: async ({ files, readOnly, place, log, options }) => {
    const password = passwordOf(options, place)
    const server = await startWebdavServer({
      files,
      readOnly,
      place,
      log,
      ...(password !== undefined && { password: password.text }),
    })
    const where = place.kind === 'socket' ? place.path : `http://${urlHost(place.host)}:${place.port}/`
    const how = password?.isMadeUp === true ? ` (any user name, password ${password.text})` : ''
    return { server, lines: [`served at ${where}${how}`] }
  },
}

/** A warning about a place that is not for this user alone, for protocols without authentication. */
function warningOf(place: ListenPlace): readonly string[] {
  if (place.kind === 'socket') return []
  const rights = isRoot() ? 'as any user, root included' : 'with your rights'
  return [
    `warning: no authentication: every client that can connect to ${placeText(place)} has access ${rights}`,
  ]
}

/** The password for WebDAV; undefined if none is needed: a Unix socket is for its owner alone. @throws UsageError */
function passwordOf(
  { passwordFile, password }: ServeOptions,
  place: ListenPlace,
): { readonly text: string; readonly isMadeUp: boolean } | undefined {
  if (passwordFile !== undefined) {
    const [text = ''] = readFileSync(passwordFile, 'utf8').split(/\r?\n/)
    if (text === '') throw new UsageError(`${passwordFile} begins with an empty line instead of a password`)
    return { text, isMadeUp: false }
  }
  if (!password || place.kind === 'socket') return undefined
  return { text: randomBytes(PASSWORD_BYTES).toString('base64url'), isMadeUp: true }
}

const urlHost = (host: string): string => (host.includes(':') ? `[${host}]` : host)

const nbdUri = (place: ListenPlace, path: string): string => {
  const name = path.split('/').map(encodeURIComponent).join('/')
  return place.kind === 'socket'
    ? `nbd+unix:///${name}?socket=${place.path}`
    : `nbd://${urlHost(place.host)}:${place.port}/${name}`
}
