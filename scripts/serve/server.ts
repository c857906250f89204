/** A protocol server over a database: accepts connections until it is closed. */
import { createServer, type Server, type Socket } from 'node:net'
import { listenAt, type ListenPlace } from './listen.ts'

/** Further connections are closed at once. */
const CONNECTIONS_MAX = 64

export interface RunningServer {
  /** Ends the connections, and resolves when every request has ended. */
  close(): Promise<void>
}

/** Listens, and serves each connection by `serve`, which resolves when it has ended and never rejects. @throws CommandError */
export async function startServer(
  place: ListenPlace,
  serve: (socket: Socket) => Promise<void>,
): Promise<RunningServer> {
  const connections = new Map<Socket, Promise<void>>()
  const server: Server = createServer(socket => {
    socket.setNoDelay()
    connections.set(socket, serve(socket))
    // Not when it is served: a client that does not read keeps its connection.
    socket.once('close', () => connections.delete(socket))
  })
  server.maxConnections = CONNECTIONS_MAX
  await listenAt(server, place)
  return {
    close: async () => {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      const running = [...connections.values()]
      for (const socket of connections.keys()) socket.destroy()
      await Promise.all(running)
      await closed
    },
  }
}
