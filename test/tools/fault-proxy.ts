/** A proxy before a PostgreSQL server, on a Unix socket, that cuts connections where a test says so. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const SOCKET = '.s.PGSQL.5432'

/** Where a connection is cut: before the server gets the bytes, or before the client gets the answer. */
export type Cut = 'request' | 'answer'

export class FaultProxy {
  readonly directory: string
  readonly #target: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #marker: { readonly text: string; readonly cut: Cut } | undefined
  /** While it is set, new connections are cut at once. */
  isRefusing = false
  /** Connections that were cut by {@link FaultProxy.cutAt}. */
  cuts = 0

  private constructor(directory: string, target: string, server: Server) {
    this.directory = directory
    this.#target = target
    this.#server = server
  }

  /** @param serverDirectory where the server's socket is. */
  static async start(serverDirectory: string): Promise<FaultProxy> {
    const directory = mkdtempSync(join(tmpdir(), 'zblkfs-px-'))
    const server = createServer()
    const proxy = new FaultProxy(directory, join(serverDirectory, SOCKET), server)
    server.on('connection', socket => proxy.#connect(socket))
    await new Promise<void>(resolve => server.listen(join(directory, SOCKET), () => resolve()))
    return proxy
  }

  /** Cuts the next connection whose client sends `text`, once. */
  cutAt(text: string, cut: Cut): void {
    this.#marker = { text, cut }
  }

  /** Cuts every connection. */
  cutAll(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    this.cutAll()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
    rmSync(this.directory, { recursive: true, force: true })
  }

  #connect(client: Socket): void {
    if (this.isRefusing) return void client.destroy()
    const server = createConnection(this.#target)
    let isSwallowing = false
    const cut = (): void => {
      this.cuts++
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) {
      this.#sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        client.destroy()
        server.destroy()
      })
    }
    client.on('data', (bytes: Buffer) => {
      const found =
        this.#marker !== undefined && bytes.includes(this.#marker.text) ? this.#marker.cut : undefined
      if (found !== undefined) this.#marker = undefined
      if (found === 'request') return cut()
      isSwallowing ||= found === 'answer'
      server.write(bytes)
    })
    server.on('data', (bytes: Buffer) => {
      if (isSwallowing) cut()
      else client.write(bytes)
    })
  }
}
