/** The methods of WebDAV (RFC 4918, classes 1 and 2) over the files of a database. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { FileError } from '../../../core/database/file-error.ts'
import type { Files } from '../../../core/database/files.ts'
import type { Stats } from '../../../core/database/stats.ts'
import type { Locks } from './locks.ts'
import { etagOf, lockXml, multistatus, patchedXml, responseXml } from './properties.ts'
import { hrefOf, pathOf, segmentsOf } from './resource-path.ts'
import { send } from './send.ts'
import { copyOver, copyTree, entriesOf, moveTo } from './trees.ts'
import { escapeXml, propertiesIn } from './xml.ts'

/** Of XML. */
const BODY_MAX_BYTES = 64 << 10
const XML = 'application/xml; charset=utf-8'
const LOCK_DEFAULT_S = 600

/** An answer that is not success. */
export class HttpError extends Error {
  override readonly name = 'HttpError'
  readonly status: number
  constructor(status: number, message = '') {
    super(message)
    this.status = status
  }
}

/** One request, its target and the server's state. */
export interface Call {
  readonly files: Files
  readonly locks: Locks
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly segments: readonly Buffer[]
}

type Method = (call: Call) => Promise<void>

export const METHODS: Readonly<Record<string, Method>> = {
  OPTIONS: call => {
    call.response.writeHead(200, {
      allow: Object.keys(METHODS).join(', '),
      dav: '1, 2',
      'ms-author-via': 'DAV',
    })
    call.response.end()
    return Promise.resolve()
  },
  GET: get,
  HEAD: get,
  PUT: put,
  DELETE: remove,
  MKCOL: makeDirectory,
  COPY: call => copyOrMove(call, 'copy'),
  MOVE: call => copyOrMove(call, 'move'),
  PROPFIND: findProperties,
  PROPPATCH: patchProperties,
  LOCK: lock,
  UNLOCK: unlock,
}

/** The methods that change something. */
export const CHANGING: ReadonlySet<string> = new Set([
  'PUT',
  'DELETE',
  'MKCOL',
  'COPY',
  'MOVE',
  'PROPPATCH',
  'LOCK',
])

async function get({ files, request, response, segments }: Call): Promise<void> {
  const path = pathOf(segments)
  const stats = await files.stat(path)
  if (stats.isDirectory()) return await list(files, segments, request, response)
  if (!stats.isFile()) throw new HttpError(403, 'this is not a regular file')
  const etag = etagOf(stats)
  const headers = { etag, 'last-modified': stats.mtime.toUTCString(), 'accept-ranges': 'bytes' }
  if (request.headers['if-none-match'] === etag) {
    response.writeHead(304, headers).end()
    return
  }
  const range = rangeOf(request, stats, etag)
  if (range === 'none') {
    response.writeHead(416, { 'content-range': `bytes */${stats.size}` }).end()
    return
  }
  const { start, end } = range ?? { start: 0, end: stats.size - 1 }
  response.writeHead(range === undefined ? 200 : 206, {
    ...headers,
    'content-type': 'application/octet-stream',
    'content-length': end - start + 1,
    // A stored page must not run as one of this server.
    'content-security-policy': 'sandbox',
    'x-content-type-options': 'nosniff',
    ...(range !== undefined && { 'content-range': `bytes ${start}-${end}/${stats.size}` }),
  })
  if (request.method === 'HEAD' || stats.size === 0) {
    response.end()
    return
  }
  await pipeline(files.createReadStream(path, { start, end }), response)
}

/** The requested range, both ends inclusive; 'none' if it is outside of the file. */
function rangeOf(
  { headers }: IncomingMessage,
  { size }: Stats,
  etag: string,
): { readonly start: number; readonly end: number } | 'none' | undefined {
  const [, first = '', last = ''] = /^bytes=(\d*)-(\d*)$/.exec(headers.range ?? '') ?? []
  if (first === '' && last === '') return undefined
  if (headers['if-range'] !== undefined && headers['if-range'] !== etag) return undefined
  const start = first === '' ? Math.max(0, size - Number(last)) : Number(first)
  const end = first === '' || last === '' ? size - 1 : Math.min(Number(last), size - 1)
  return start > end ? 'none' : { start, end }
}

/** A page with links, for browsers. */
async function list(
  files: Files,
  segments: readonly Buffer[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.writeHead(200, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'",
  })
  if (request.method === 'HEAD') response.end()
  else await send(response, page(files, segments))
}

async function* page(files: Files, segments: readonly Buffer[]): AsyncGenerator<string> {
  const title = escapeXml(`/${Buffer.concat(segments.flatMap(name => [name, Buffer.from('/')])).toString()}`)
  yield `<!doctype html><meta charset="utf-8"><title>${title}</title><h1>${title}</h1><ul>`
  for await (const { nameBytes, name, isDirectory } of entriesOf(files, segments)) {
    const href = escapeXml(hrefOf([...segments, Buffer.from(nameBytes)], isDirectory))
    yield `<li><a href="${href}">${escapeXml(name)}${isDirectory ? '/' : ''}</a></li>\n`
  }
  yield '</ul>\n'
}

/** Replaces a file when all of the body has come. */
async function put({ files, request, response, segments }: Call): Promise<void> {
  if (segments.length === 0) throw new HttpError(405)
  if (request.headers['content-range'] !== undefined)
    throw new HttpError(400, 'PUT of a part is not supported')
  const path = pathOf(segments)
  const before = await statIfThere(files, path)
  if (before?.isDirectory() === true) throw new HttpError(405, 'this is a directory')
  checkPreconditions(request, before)
  try {
    // Destroying the request would close the connection before the answer.
    await files.replaceFile(path, request.iterator({ destroyOnReturn: false }))
  } catch (error) {
    throw codeOf(error) === 'ENOENT' ? new HttpError(409, 'its directory does not exist') : error
  }
  response.writeHead(before === undefined ? 201 : 204, { etag: etagOf(await files.stat(path)) }).end()
}

function checkPreconditions({ headers }: IncomingMessage, stats: Stats | undefined): void {
  const etag = stats && etagOf(stats)
  const [ifMatch, ifNoneMatch] = [headers['if-match'], headers['if-none-match']]
  const isOther = ifMatch !== undefined && (etag === undefined || (ifMatch !== '*' && ifMatch !== etag))
  if (isOther || (ifNoneMatch === '*' && etag !== undefined)) throw new HttpError(412)
}

async function remove({ files, locks, response, segments }: Call): Promise<void> {
  if (segments.length === 0) throw new HttpError(403, 'the root cannot be removed')
  const path = pathOf(segments)
  await files.lstat(path)
  await files.rm(path, { recursive: true })
  locks.forget(hrefOf(segments, false))
  response.writeHead(204).end()
}

async function makeDirectory({ files, request, response, segments }: Call): Promise<void> {
  if ((await bodyOf(request)).length > 0) throw new HttpError(415)
  try {
    await files.mkdir(pathOf(segments))
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw new HttpError(405, 'it exists')
    if (codeOf(error) === 'ENOENT') throw new HttpError(409, 'its directory does not exist')
    throw error
  }
  response.writeHead(201).end()
}

async function copyOrMove(call: Call, kind: 'copy' | 'move'): Promise<void> {
  const { files, locks, request, response, segments } = call
  const target = destinationOf(request)
  const [from, to] = [pathOf(segments), pathOf(target)]
  const [fromHref, toHref] = [hrefOf(segments, true), hrefOf(target, true)]
  const source = await files.lstat(from)
  if (fromHref === toHref) throw new HttpError(403, 'source and destination are the same')
  if (toHref.startsWith(fromHref)) throw new HttpError(409, 'the destination lies in the source')
  if (fromHref.startsWith(toHref)) throw new HttpError(409, 'the source lies in the destination')
  if (!locks.allows(toHref, tokensOf(request))) throw new HttpError(423)
  const existed = await ifThere(files.lstat(to))
  if (existed !== undefined && request.headers['overwrite']?.toString().toUpperCase() === 'F')
    throw new HttpError(412)
  try {
    const isDeep = request.headers['depth'] !== '0'
    const isTree = source.isDirectory() || existed?.isDirectory() === true
    if (kind === 'move') await moveTo(files, segments, target, isTree)
    else if (existed === undefined) await copyTree(files, segments, target, isDeep)
    else await copyOver(files, segments, target, { isDeep, isTree })
  } catch (error) {
    throw codeOf(error) === 'ENOENT'
      ? new HttpError(409, 'the directory of the destination does not exist')
      : error
  }
  if (kind === 'move') locks.forget(fromHref)
  response.writeHead(existed === undefined ? 201 : 204).end()
}

function destinationOf({ headers }: IncomingMessage): readonly Buffer[] {
  const text = headers['destination']?.toString() ?? ''
  const url = URL.parse(text, `http://${headers.host ?? 'localhost'}`)
  // Behind a proxy the host may be another one; only the path counts.
  const segments = text === '' || url === null ? undefined : segmentsOf(url.pathname)
  if (segments === undefined) throw new HttpError(400, 'the header Destination is missing or no URL')
  return segments
}

async function findProperties({ files, locks, request, response, segments }: Call): Promise<void> {
  const depth = request.headers['depth']
  if (depth !== '0' && depth !== '1')
    throw new HttpError(403, '<D:error xmlns:D="DAV:"><D:propfind-finite-depth/></D:error>')
  const body = (await bodyOf(request)).toString()
  const asked = body.trim() === '' ? [] : propertiesIn(body)
  if (asked === undefined) throw new HttpError(400, 'the body is not well-formed')
  const stats = await files.stat(pathOf(segments))
  const resourceOf = (path: readonly Buffer[], name: string, stats: Stats): string => {
    const href = hrefOf(path, stats.isDirectory())
    return responseXml({ href, name, stats, lock: locks.of(href) }, asked)
  }
  const responses = async function* (): AsyncGenerator<string> {
    yield resourceOf(segments, segments.at(-1)?.toString() ?? '', stats)
    if (depth === '0' || !stats.isDirectory()) return
    for await (const { name, nameBytes } of entriesOf(files, segments)) {
      const path = [...segments, Buffer.from(nameBytes)]
      // A link that leads nowhere, or a file that was removed meanwhile, is left out.
      const found = await statIfThere(files, pathOf(path))
      if (found !== undefined) yield resourceOf(path, name, found)
    }
  }
  response.writeHead(207, { 'content-type': XML })
  await send(response, multistatus(responses()))
}

/** Sets the modification time, under the name that Windows gives it; refuses all else. */
async function patchProperties({ files, request, response, segments }: Call): Promise<void> {
  const properties = propertiesIn((await bodyOf(request)).toString())
  if (properties === undefined) throw new HttpError(400, 'the body is not well-formed')
  const path = pathOf(segments)
  const stats = await files.stat(path)
  const time = properties.find(({ name }) => name === 'Win32LastModifiedTime' || name === 'getlastmodified')
  const timeMs = Date.parse(time?.text ?? '')
  const isSet = time !== undefined && !Number.isNaN(timeMs)
  if (isSet) await files.utimes(path, stats.atime, new Date(timeMs))
  // The other attributes of Windows have no counterpart; refusing them would make it give up the copy.
  const isKnown = (name: string): boolean => name.startsWith('Win32') || (isSet && name === time.name)
  const set = properties.filter(({ name }) => isKnown(name))
  const refused = properties.filter(({ name }) => !isKnown(name))
  const href = hrefOf(segments, stats.isDirectory())
  response.writeHead(207, { 'content-type': XML })
  await send(response, multistatus([patchedXml(href, set, refused)]))
}

/** Locks a file, and makes an empty one if there is none. */
async function lock({ files, locks, request, response, segments }: Call): Promise<void> {
  const body = (await bodyOf(request)).toString()
  const href = hrefOf(segments, false)
  const seconds = Number(
    /Second-(\d+)/.exec(request.headers['timeout']?.toString() ?? '')?.[1] ?? LOCK_DEFAULT_S,
  )
  const owner =
    /<(?:\w+:)?owner[^>]*>([^]*?)<\/(?:\w+:)?owner>/
      .exec(body)?.[1]
      ?.replaceAll(/<[^>]*>/g, '')
      .trim() ?? ''
  const taken =
    body === '' ? locks.refresh(href, tokensOf(request), seconds) : locks.take(href, owner, seconds)
  if (taken === undefined) throw new HttpError(412)
  if (taken === 'taken') throw new HttpError(423)
  if (taken === 'too many') throw new HttpError(503, 'there are too many locks')
  const existed = await statIfThere(files, pathOf(segments))
  if (existed === undefined) {
    try {
      await files.writeFile(pathOf(segments), '')
    } catch (error) {
      locks.release(taken.token)
      throw codeOf(error) === 'ENOENT' ? new HttpError(409, 'its directory does not exist') : error
    }
  }
  const xml = `<?xml version="1.0" encoding="utf-8"?>\n<D:prop xmlns:D="DAV:"><D:lockdiscovery>${lockXml(taken)}</D:lockdiscovery></D:prop>\n`
  const status = existed === undefined ? 201 : 200
  response.writeHead(status, { 'content-type': XML, 'lock-token': `<${taken.token}>` }).end(xml)
}

function unlock({ locks, request, response }: Call): Promise<void> {
  const token = request.headers['lock-token']?.toString().replace(/^<(.*)>$/, '$1') ?? ''
  if (!locks.release(token)) throw new HttpError(409, 'there is no such lock')
  response.writeHead(204).end()
  return Promise.resolve()
}

/** The lock tokens that a request presents. */
export const tokensOf = ({ headers }: IncomingMessage): readonly string[] =>
  [
    ...`${headers['if']?.toString() ?? ''} ${headers['lock-token']?.toString() ?? ''}`.matchAll(
      /<(urn:uuid:[^>]*)>/g,
    ),
  ].map(([, token = '']) => token)

const statIfThere = (files: Files, path: Buffer): Promise<Stats | undefined> => ifThere(files.stat(path))

async function ifThere(found: Promise<Stats>): Promise<Stats | undefined> {
  try {
    return await found
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR' || codeOf(error) === 'ELOOP')
      return undefined
    throw error
  }
}

const codeOf = (error: unknown): string | undefined => (error instanceof FileError ? error.code : undefined)

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > BODY_MAX_BYTES) throw new HttpError(413)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
