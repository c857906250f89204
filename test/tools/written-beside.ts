/** A database on a server that another mount writes all the time, so that the lease changes between the operations of a test. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makePostgresDatabase } from './postgres-server.ts'
import { runProgram, runZblkfs } from './run-zblkfs.ts'

export interface WrittenBeside {
  readonly db: string
  /** @throws Error if the other mount has written nothing. */
  readonly remove: () => Promise<void>
}

/** @param options of the other mount. */
export async function makeWrittenBeside(options: readonly string[] = []): Promise<WrittenBeside> {
  const database = await makePostgresDatabase()
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-beside-'))
  const dir = join(scratch, 'mnt')
  await mkdir(dir)
  const mounted = await runZblkfs('mount', ...options.flatMap(option => ['-o', option]), database.url, dir)
  if (mounted.exitCode !== 0) throw new Error(mounted.stderr)
  const script = `mkdir beside; while sleep 0.2; do date > beside/new && mv beside/new beside/file && echo .; done`
  const loop = spawn('sh', ['-c', script], { cwd: dir, stdio: ['ignore', 'pipe', 'ignore'] })
  let writes = 0
  loop.stdout.on('data', (data: Buffer) => (writes += data.filter(byte => byte === 0x2e).length))
  const ended = once(loop, 'exit')
  return {
    db: database.url,
    remove: async () => {
      loop.kill('SIGKILL')
      await ended
      const unmounted = await runZblkfs('umount', dir)
      if (unmounted.exitCode !== 0) await runProgram('umount', ['-l', dir])
      await database.remove()
      await rm(scratch, { recursive: true, force: true })
      if (writes === 0) throw new Error('the other mount has written nothing')
    },
  }
}
