/**
 * The HTTP server of `zblkfs web`.
 *
 * Every path begins with a secret token; a request for any other path is answered with 404. As other pages in the same browser can
 * send requests too, a request must name this server as its host (against DNS rebinding), and one that changes something must come
 * from the page itself and be JSON (which a form cannot send). The page may load nothing from elsewhere (Content-Security-Policy).
 *
 *     GET  /TOKEN/                    the page
 *     GET  /TOKEN/app/NAME            its modules; /TOKEN/lib/NAME: those of libraries
 *     GET  /TOKEN/api/NAME?...        api.ts
 *     GET  /TOKEN/raw?path=..&at=..   a file's bytes, to be shown or (download=1) saved
 *     POST /TOKEN/change/NAME         a change, as JSON
 */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { CodedError } from '../../store/errors.ts'
import { explain } from '../advice.ts'
import { UsageError } from '../failure.ts'
import { pathIn, type Api, type Parameters, type Query } from './api.ts'
import { asset, page } from './assets.ts'

const TOKEN_BYTES = 24
const BODY_MAX = 64 << 10
/** Queries that run at once; others wait. */
const QUERIES_MAX = 8
/** Further connections are closed at once. */
const CONNECTIONS_MAX = 128
const QUERIES: ReadonlySet<string> = new Set<Query>([
  'info',
  'moment',
  'timeline',
  'log',
  'list',
  'file',
  'diff',
  'patch',
  'usage',
  'live',
])
const isQuery = (name: string): name is Query => QUERIES.has(name)
/** Maximum bytes of a preview. */
const PREVIEW_MAX = 8n << 20n

/** Types that a browser may show; everything else is text. */
const IMAGES: Readonly<Record<string, string>> = {
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  avif: 'image/avif',
}

const HEADERS = {
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cache-Control': 'no-store',
}

export interface WebServer {
  /** With the token. */
  readonly url: string
  close(): Promise<void>
}

/** Serves on 127.0.0.1; port 0 chooses a free one. @throws Error if the port is in use. */
export async function serveWeb(api: Api, port: number): Promise<WebServer> {
  const token = randomBytes(TOKEN_BYTES).toString('base64url')
  const server = createServer()
  server.maxConnections = CONNECTIONS_MAX
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address() as AddressInfo
  const site = new Site(api, token, address.port)
  server.on('request', (request, response) => {
    site.answer(request, response).catch((error: unknown) => refuse(response, error))
  })
  return {
    url: `http://127.0.0.1:${address.port}/${token}/`,
    close: () => closed(server),
  }
}

async function closed(server: Server): Promise<void> {
  const ended = once(server, 'close')
  server.close()
  server.closeAllConnections()
  await ended
}

/** A failure of a request, with its HTTP status. */
class RefusedRequestError extends Error {
  readonly status: number
  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

class Site {
  readonly #api: Api
  readonly #prefix: string
  readonly #hosts: readonly string[]
  readonly #queries = new Set<Promise<unknown>>()

  constructor(api: Api, token: string, port: number) {
    this.#api = api
    this.#prefix = `/${token}/`
    this.#hosts = [`127.0.0.1:${port}`, `localhost:${port}`]
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const host = request.headers.host ?? ''
    if (!this.#hosts.includes(host)) throw new RefusedRequestError(403, 'this server is another host')
    const url = new URL(request.url ?? '/', `http://${host}`)
    if (!url.pathname.startsWith(this.#prefix)) throw new RefusedRequestError(404, 'not found')
    const [area = '', name = '', ...rest] = url.pathname.slice(this.#prefix.length).split('/')
    if (rest.length > 0) throw new RefusedRequestError(404, 'not found')
    const parameters = new Map(url.searchParams)
    if (request.method === 'POST' && area === 'change') await this.#change(request, response, name)
    else if (request.method !== 'GET')
      throw new RefusedRequestError(405, `${request.method ?? ''} is not supported`)
    else if (area === '') sendPage(response)
    else if (area === 'app' || area === 'lib') await sendAsset(response, area, name)
    else if (area === 'api') sendJson(response, await this.#query(response, name, parameters))
    else if (area === 'raw' && name === '') await this.#raw(request, response, parameters)
    else throw new RefusedRequestError(404, 'not found')
  }

  /** Runs a query, which ends if its connection does. */
  async #query(response: ServerResponse, name: string, parameters: Parameters): Promise<unknown> {
    if (!isQuery(name)) throw new RefusedRequestError(404, 'not found')
    const stopped = new AbortController()
    response.once('close', () => stopped.abort())
    while (this.#queries.size >= QUERIES_MAX) await Promise.race(this.#queries)
    stopped.signal.throwIfAborted()
    const running = this.#api[name](parameters, stopped.signal)
    const done = Promise.allSettled([running])
    this.#queries.add(done)
    await done
    this.#queries.delete(done)
    return await running
  }

  async #change(request: IncomingMessage, response: ServerResponse, name: string): Promise<void> {
    const { origin, 'content-type': type } = request.headers
    if (origin === undefined || !this.#hosts.some(host => origin === `http://${host}`))
      throw new RefusedRequestError(403, 'a change must come from the page')
    if (type !== 'application/json') throw new RefusedRequestError(415, 'a change is JSON')
    const values = parsed(await body(request))
    if (typeof values !== 'object' || values === null) throw new UsageError('a change is a JSON object')
    sendJson(response, await this.#api.change(name, values as Readonly<Record<string, unknown>>))
  }

  /** A file's bytes. A browser shows them in a sandbox, as an image or as text. */
  async #raw(request: IncomingMessage, response: ServerResponse, parameters: Parameters): Promise<void> {
    const files = await this.#api.filesAt(parameters)
    const path = pathIn(parameters)
    const isDownload = parameters.get('download') === '1'
    const stats = await files.stat(path)
    if (!stats.isFile()) throw new RefusedRequestError(404, 'not a file')
    const end = isDownload || stats.sizeExact < PREVIEW_MAX ? stats.sizeExact : PREVIEW_MAX
    const name = path.slice(path.lastIndexOf('/') + 1)
    const type = IMAGES[name.slice(name.lastIndexOf('.') + 1).toLowerCase()] ?? 'text/plain; charset=utf-8'
    response.writeHead(200, {
      ...HEADERS,
      'Content-Security-Policy': "default-src 'none'; sandbox",
      'Content-Type': isDownload ? 'application/octet-stream' : type,
      'Content-Length': String(end),
      ...(isDownload && { 'Content-Disposition': `attachment; filename*=UTF-8''${encodeName(name)}` }),
    })
    const stopped = new AbortController()
    request.once('close', () => stopped.abort())
    if (end === 0n) response.end()
    else {
      const stream = files.createReadStream(path, { end: Number(end) - 1, signal: stopped.signal })
      await pipeline(stream, response)
    }
  }
}

const encodeName = (name: string): string =>
  encodeURIComponent(name.toWellFormed()).replaceAll(/['()*]/g, c => `%${c.charCodeAt(0).toString(16)}`)

/** @throws RefusedRequestError */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new RefusedRequestError(400, 'a change is JSON')
  }
}

async function body(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > BODY_MAX) throw new RefusedRequestError(413, 'the request is too long')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function sendPage(response: ServerResponse): void {
  const nonce = randomBytes(TOKEN_BYTES).toString('base64url')
  response.writeHead(200, {
    ...HEADERS,
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Security-Policy':
      `default-src 'none'; script-src 'self' 'nonce-${nonce}'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; ` +
      "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  })
  response.end(page(nonce))
}

async function sendAsset(response: ServerResponse, area: 'app' | 'lib', name: string): Promise<void> {
  const found = await asset(area, name)
  if (found === undefined) throw new RefusedRequestError(404, 'not found')
  response.writeHead(200, { ...HEADERS, 'Content-Type': found.type })
  response.end(found.content)
}

function sendJson(response: ServerResponse, answer: unknown): void {
  response.writeHead(200, { ...HEADERS, 'Content-Type': 'application/json' })
  response.end(JSON.stringify(answer))
}

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  const isKnown = error instanceof CodedError
  const status =
    error instanceof RefusedRequestError ? error.status : isKnown || isFileError(error) ? 400 : 500
  const message = isKnown ? explain(error) : error instanceof Error ? error.message : String(error)
  response.writeHead(status, { ...HEADERS, 'Content-Type': 'application/json' })
  response.end(JSON.stringify({ error: message }))
}

const isFileError = (error: unknown): boolean => error instanceof Error && 'errno' in error
