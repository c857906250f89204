/**
 * A client of an S3 server: whole objects written, ranges of them read, listed and deleted. Signatures are aws4fetch's;
 * node:http carries the bodies, which costs a fifth of the CPU time of fetch (docs/notes.md).
 *
 * - Failures that may pass (a lost connection, an answer cut short, 503) are retried with growing, random delays, for a
 *   bounded time. Every attempt has a time limit too.
 * - A body is sent with its MD5, so a server stores what was sent or nothing.
 * - No conditional requests: servers differ in them.
 */
import { createHash } from 'node:crypto'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { AwsV4Signer } from 'aws4fetch'
import type { ConnectionState } from '../capabilities.ts'
import { messageOf, systemCode } from '../errors.ts'
import { formatS3Address, serverOf, type S3Address } from './address.ts'
import { findCredentials, type S3Credentials } from './credentials.ts'
import { Limiter } from './limiter.ts'
import {
  explainS3,
  isAboutCredentials,
  isPassing,
  noCredentials,
  ObjectMissingError,
  S3AnswerError,
  S3ConnectionError,
} from './s3-errors.ts'

const GETS_MAX = 16
const PUTS_MAX = 6
const FIRST_DELAY_MS = 50
const MAX_DELAY_MS = 4000
/** Maximum length of an answer that is not an object's bytes. */
const TEXT_MAX_BYTES = 4 << 20

export interface S3Limits {
  /** How long a request is retried. */
  readonly retryMs: number
  /** Maximum time without a byte from or to the server. */
  readonly idleMs: number
  /** The least speed: an attempt may take `idleMs` and this time for each MiB. */
  readonly mibMs: number
}

const LIMITS: S3Limits = { retryMs: 30_000, idleMs: 10_000, mibMs: 5000 }

export interface S3ClientOptions {
  readonly env?: NodeJS.ProcessEnv
  readonly limits?: Partial<S3Limits>
  /** Receives a sentence when the server stops to answer, and when it answers again. */
  readonly report?: (message: string) => void
}

export interface ListedObject {
  /** Without the prefix of the address. */
  readonly key: string
  readonly bytes: number
  /** Age according to the server's clock; NaN if the server does not report it. */
  readonly ageMs: number
}

interface S3Request {
  readonly method: 'GET' | 'PUT' | 'DELETE'
  readonly key: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: readonly Uint8Array[]
  /** Bytes that it sends or expects. */
  readonly bytes: number
}

interface S3Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

export class S3Client {
  /** The canonical URL, for messages. */
  readonly place: string
  readonly #prefix: string
  readonly #base: string
  readonly #region: string
  readonly #env: NodeJS.ProcessEnv
  readonly #limits: S3Limits
  readonly #report: (message: string) => void
  readonly #agent: HttpAgent
  readonly #gets = new Limiter(GETS_MAX)
  readonly #puts = new Limiter(PUTS_MAX)
  readonly #closing = new AbortController()
  #credentials: S3Credentials | undefined
  #state: ConnectionState = { state: 'connected' }

  constructor(
    address: S3Address,
    { env = process.env, limits, report = () => undefined }: S3ClientOptions = {},
  ) {
    this.place = formatS3Address(address)
    this.#prefix = address.prefix === '' ? '' : `${address.prefix}/`
    const { base, region } = serverOf(address, env)
    this.#base = base
    this.#region = region
    this.#env = env
    this.#limits = { ...LIMITS, ...limits }
    this.#report = report
    const options = { keepAlive: true, maxSockets: GETS_MAX + PUTS_MAX, scheduling: 'lifo' } as const
    this.#agent = base.startsWith('https:') ? new HttpsAgent(options) : new HttpAgent(options)
  }

  get state(): ConnectionState {
    return this.#state
  }

  /**
   * Reads `length` bytes of an object from `offset` on.
   * @throws ObjectMissingError if there is no such object, or it is shorter; StoreError.
   */
  async get(key: string, offset: number, length: number): Promise<Buffer> {
    const headers = { range: `bytes=${offset}-${offset + length - 1}` }
    return await this.#gets.run(() =>
      this.#retry(async () => {
        const {
          body,
          headers: answered,
          status,
        } = await this.#send({ method: 'GET', key, headers, bytes: length })
        if (body.length === length && (status === 206 || offset === 0)) return body
        const total = totalOf(answered)
        if (total !== undefined && total < offset + length)
          throw new ObjectMissingError(`its object has only ${total} bytes`)
        throw new S3ConnectionError(`the server sent ${body.length} bytes instead of ${length}`)
      }),
    )
  }

  /** Reads a short object; undefined if there is none. @throws StoreError */
  async text(key: string): Promise<string | undefined> {
    try {
      const answer = await this.#gets.run(() =>
        this.#retry(() => this.#send({ method: 'GET', key, bytes: 0 })),
      )
      return answer.body.toString()
    } catch (error) {
      if (error instanceof ObjectMissingError) return undefined
      throw error
    }
  }

  /** Stores an object; it is durable when this resolves. @throws StoreError */
  async put(key: string, body: readonly Uint8Array[]): Promise<void> {
    const digest = createHash('md5')
    let bytes = 0
    for (const part of body) {
      digest.update(part)
      bytes += part.length
    }
    const headers = { 'content-md5': digest.digest('base64'), 'content-type': 'application/octet-stream' }
    await this.#puts.run(() => this.#retry(() => this.#send({ method: 'PUT', key, headers, body, bytes })))
  }

  /**
   * The length of an object; undefined if there is none, or it is empty. Reads a byte, because Swift sends a body after a HEAD of an
   * object that does not exist.
   * @throws StoreError
   */
  async size(key: string): Promise<number | undefined> {
    const headers = { range: 'bytes=0-0' }
    try {
      const answer = await this.#gets.run(() =>
        this.#retry(() => this.#send({ method: 'GET', key, headers, bytes: 1 })),
      )
      return totalOf(answer.headers) ?? Number.NaN
    } catch (error) {
      if (error instanceof ObjectMissingError) return undefined
      throw error
    }
  }

  /** Deletes an object if it exists. @throws StoreError */
  async delete(key: string): Promise<void> {
    try {
      await this.#gets.run(() => this.#retry(() => this.#send({ method: 'DELETE', key, bytes: 0 })))
    } catch (error) {
      if (!(error instanceof ObjectMissingError)) throw error
    }
  }

  /** At most `limit` objects whose keys begin with `start` and are greater than `after`, ascending; empty at the end. @throws StoreError */
  async list(start: string, after: string, limit: number): Promise<readonly ListedObject[]> {
    const query = {
      'list-type': '2',
      'max-keys': String(limit),
      prefix: this.#prefix + start,
      'start-after': this.#prefix + after,
    }
    const { body, headers } = await this.#gets.run(() =>
      this.#retry(() => this.#send({ method: 'GET', key: '', query, bytes: 0 })),
    )
    const now = Date.parse(headers.date ?? '')
    const objects = [...body.toString().matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([, entry = '']) => ({
      key: unescape(fieldOf(entry, 'Key')).slice(this.#prefix.length),
      bytes: Number(fieldOf(entry, 'Size')),
      ageMs: now - Date.parse(fieldOf(entry, 'LastModified')),
    }))
    return objects.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  }

  close(): void {
    this.#closing.abort()
    this.#agent.destroy()
  }

  async #retry<T>(attempt: () => Promise<T>): Promise<T> {
    const start = performance.now()
    let hasReloaded = false
    let isRepeated = false
    for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(MAX_DELAY_MS, delayMs * 2)) {
      try {
        const answer = await attempt()
        this.#noteAnswer()
        return answer
      } catch (error) {
        if (isAboutCredentials(error) && !hasReloaded) {
          // Temporary credentials expire, and are replaced in their file.
          hasReloaded = true
          this.#credentials = undefined
          continue
        }
        if (!isPassing(error) || this.#closing.signal.aborted) throw explainS3(error, this.place)
        // The first failure may be that of an idle connection which the server has closed.
        if (isRepeated) this.#noteFailure(error)
        isRepeated = true
        if (performance.now() - start + delayMs > this.#limits.retryMs) throw explainS3(error, this.place)
      }
      await sleep(delayMs * (0.5 + Math.random() / 2))
    }
  }

  async #send(request: S3Request): Promise<S3Answer> {
    const { method, key, query = {}, headers = {}, body = [] } = request
    this.#credentials ??= findCredentials(this.#env)
    if (this.#credentials === undefined) throw noCredentials(this.place)
    const path = key === '' ? '' : `/${this.#prefix}${key}`
    const parameters = new URLSearchParams(query).toString()
    const length = body.reduce((sum, part) => sum + part.length, 0)
    const signed = await new AwsV4Signer({
      ...this.#credentials,
      method,
      url: `${this.#base}${path}${parameters === '' ? '' : `?${parameters}`}`,
      headers: { ...headers },
      service: 's3',
      region: this.#region,
    }).sign()
    const sent = {
      method,
      agent: this.#agent,
      headers: {
        ...Object.fromEntries(signed.headers),
        ...(method === 'PUT' && { 'content-length': String(length) }),
      },
    }
    const answer = await this.#exchange(signed.url, sent, request)
    if (answer.status < 300) return answer
    const text = answer.body.toString()
    const code = fieldOf(text, 'Code')
    if (answer.status === 404 && code !== 'NoSuchBucket')
      throw new ObjectMissingError('its object does not exist')
    if (answer.status === 416) throw new ObjectMissingError('its object is too short')
    throw new S3AnswerError(answer.status, code, unescape(fieldOf(text, 'Message')))
  }

  /** Sends the request and receives the answer. @throws S3ConnectionError */
  async #exchange(
    url: URL,
    options: { readonly method: string; readonly headers: Record<string, string>; readonly agent: HttpAgent },
    { body = [], bytes }: S3Request,
  ): Promise<S3Answer> {
    const { idleMs, mibMs } = this.#limits
    const late = AbortSignal.timeout(Math.ceil(idleMs + (bytes / (1 << 20)) * mibMs))
    const signal = AbortSignal.any([late, this.#closing.signal])
    const { promise, resolve, reject } = Promise.withResolvers<S3Answer>()
    const fail = (error: unknown): void => {
      const message = late.aborted ? 'it is too slow' : (systemCode(error) ?? messageOf(error))
      reject(new S3ConnectionError(message, late.aborted ? {} : { cause: error }))
    }
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(
      url,
      { ...options, signal },
      answer => {
        receive(answer, bytes).then(
          received => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: received }),
          (error: unknown) => {
            request.destroy()
            fail(error)
          },
        )
      },
    )
    request.on('error', fail)
    request.setTimeout(idleMs, () => request.destroy(new Error('it is silent')))
    for (const part of body) request.write(part)
    request.end()
    return await promise
  }

  #noteAnswer(): void {
    if (this.#state.state === 'connected') return
    this.#state = { state: 'connected' }
    this.#report(`the S3 server of ${this.place} answers again`)
  }

  #noteFailure(error: unknown): void {
    const reason = messageOf(error)
    if (this.#state.state === 'connected')
      this.#report(`the S3 server of ${this.place} does not answer (${reason}): trying again`)
    this.#state = { state: 'reconnecting', reason: `S3: ${reason}` }
  }
}

/** The length of the object of which an answer has a part. */
function totalOf(headers: IncomingMessage['headers']): number | undefined {
  const total = /\/(\d+)$/.exec(headers['content-range'] ?? '')?.[1]
  return total === undefined ? undefined : Number(total)
}

/** The body of an answer, read into one buffer of the announced length. */
async function receive(answer: IncomingMessage, expected: number): Promise<Buffer> {
  const announced = Number(answer.headers['content-length'] ?? Number.NaN)
  const isObject = announced === expected && expected > 0
  const body = isObject ? Buffer.allocUnsafeSlow(expected) : undefined
  const parts: Buffer[] = []
  let length = 0
  for await (const part of answer as AsyncIterable<Buffer>) {
    if (body === undefined) {
      if (length + part.length > TEXT_MAX_BYTES) throw new Error('its answer is too long')
      parts.push(part)
    } else body.set(part, length)
    length += part.length
  }
  if (body !== undefined && length !== expected) throw new Error('its answer was cut short')
  return body ?? Buffer.concat(parts)
}

/** The text of the first element with this name. */
const fieldOf = (xml: string, name: string): string =>
  new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? ''

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' }

const unescape = (text: string): string =>
  text.replace(
    /&(?:#(\d+)|#x([0-9a-f]+)|(lt|gt|quot|apos|amp));/gi,
    (_, decimal, hex, name: string | undefined) =>
      name === undefined
        ? String.fromCodePoint(decimal === undefined ? Number.parseInt(String(hex), 16) : Number(decimal))
        : (ENTITIES[name] ?? ''),
  )
