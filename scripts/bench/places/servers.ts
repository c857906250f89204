/** Filesystems served by a foreground process, which is ended by its pid whatever the state of the mount. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { mountedAt } from '../../../mount/mount-points/mount-table.ts'
import { interrupted, runThrough } from '../programs.ts'

const POLL_MS = 20
const MOUNT_TIMEOUT_MS = 10_000
const END_TIMEOUT_MS = 10_000

/** Starts a server; resolves, once it is mounted, to a function that unmounts and ends it. @throws Error if it does not start. */
export async function serve(
  mountPoint: string,
  program: string,
  ...parameters: readonly string[]
): Promise<() => Promise<void>> {
  // In a separate session, so that Ctrl-C does not end it before it is unmounted.
  const server = spawn(program, parameters, { detached: true, stdio: ['ignore', 'ignore', 'pipe'] })
  let complaint = ''
  server.stderr
    .setEncoding('utf8')
    .on('data', (text: string) => (complaint = (complaint + text).slice(-2000)))
  const failure = once(server, 'error').then(([error]) => (complaint = String(error)))
  const close = async (): Promise<void> => {
    if (mountedAt(mountPoint) !== undefined)
      await runThrough('umount', mountPoint).catch(async () => await runThrough('umount', '-l', mountPoint))
    await end(server)
  }
  const limit = performance.now() + MOUNT_TIMEOUT_MS
  while (mountedAt(mountPoint) === undefined) {
    await Promise.race([sleep(POLL_MS), failure])
    if (
      server.pid === undefined ||
      server.exitCode !== null ||
      performance.now() > limit ||
      interrupted.aborted
    ) {
      await close()
      throw new Error(complaint.trim() || `${program} did not mount ${mountPoint}`)
    }
  }
  return close
}

/** Most servers exit when they are unmounted. */
async function end(server: ChildProcess): Promise<void> {
  const isGone = (): boolean =>
    server.pid === undefined || server.exitCode !== null || server.signalCode !== null
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (isGone()) return
    server.kill(signal)
    const limit = performance.now() + END_TIMEOUT_MS
    while (!isGone() && performance.now() < limit) await sleep(POLL_MS)
  }
}
