/** A proxy before an S3 server that answers wrongly where a test says so. Signatures stay valid: it changes no header. */
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * `busy`: status 503 SlowDown. `cut`: the answer ends in the middle of its body. `flip`: a bit of the body is changed. `lost`: the
 * server gets the request, the client no answer. `silent`: no answer, and the connection stays. `slow`: some bytes in a second.
 */
export type S3Fault = 'busy' | 'cut' | 'flip' | 'lost' | 'silent' | 'slow' | 'reset'

export interface S3Seen {
  readonly method: string
  readonly url: string
  readonly range: string | undefined
}

export class S3Proxy {
  readonly endpoint: string
  readonly #target: string
  readonly #server: Server
  /** Chooses the fault of a request. */
  fault: (seen: S3Seen) => S3Fault | undefined = () => undefined
  /** The requests so far. */
  readonly seen: S3Seen[] = []

  private constructor(endpoint: string, target: string, server: Server) {
    this.endpoint = endpoint
    this.#target = target
    this.#server = server
  }

  static async start(target: string, port = 0): Promise<S3Proxy> {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(port, '127.0.0.1', () => resolve()))
    const address = server.address()
    const endpoint = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
    const proxy = new S3Proxy(endpoint, target, server)
    server.on('request', (incoming, answer) => void proxy.#serve(incoming, answer))
    return proxy
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }

  async #serve(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = incoming
    const seen = { method, url, range: headers.range }
    this.seen.push(seen)
    const fault = this.fault(seen)
    incoming.on('error', () => undefined)
    answer.on('error', () => undefined)
    if (fault === 'reset') return void incoming.socket.destroy()
    if (fault === 'silent') return void incoming.resume()
    if (fault === 'busy') {
      incoming.resume()
      const text = '<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
      return void answer
        .writeHead(503, { 'content-type': 'application/xml', 'content-length': text.length })
        .end(text)
    }
    const forwarded = request(`${this.#target}${url}`, { method, headers }, received => {
      if (fault === 'lost') {
        received.resume().on('end', () => incoming.socket.destroy())
        return
      }
      answer.writeHead(received.statusCode ?? 0, received.headers)
      this.#send(received, answer, fault).catch(() => incoming.socket.destroy())
    })
    forwarded.on('error', () => incoming.socket.destroy())
    incoming.pipe(forwarded)
  }

  async #send(received: IncomingMessage, answer: ServerResponse, fault: S3Fault | undefined): Promise<void> {
    let isFirst = true
    for await (const part of received as AsyncIterable<Buffer>) {
      if (fault === 'cut') {
        answer.write(part.subarray(0, part.length >> 1))
        await sleep(20)
        throw new Error('cut')
      }
      if (fault === 'flip' && isFirst && part.length > 0)
        part[part.length >> 1] = (part[part.length >> 1] ?? 0) ^ 1
      isFirst = false
      if (fault === 'slow')
        for (let at = 0; at < part.length; at += 16) {
          if (answer.destroyed) return
          answer.write(part.subarray(at, at + 16))
          await sleep(100)
        }
      else answer.write(part)
    }
    answer.end()
  }
}
