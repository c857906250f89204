/** Before a run: where its PostgreSQL server will be, if a test needs one. After it: stops that. */
import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PostgresServer, RUN_PID, SHARED_DIRECTORY } from './postgres-server.ts'

export function setup(): () => Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-pg-'))
  // The server runs as another user.
  chmodSync(directory, 0o711)
  process.env[SHARED_DIRECTORY] = directory
  process.env[RUN_PID] = String(process.pid)
  return async () => {
    const server = join(directory, 'server')
    if (existsSync(server)) await new PostgresServer(server).remove()
    rmSync(directory, { recursive: true, force: true })
  }
}
