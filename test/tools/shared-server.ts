/** Servers that the processes of one test run share: the first process that needs one starts it, and the end of the run ends it. */
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** The variable with the directory of the run's servers, for its processes. */
const SHARED_DIRECTORY = 'ZBLKFS_TEST_SERVERS'
/** The process of the run. */
const RUN_PID = 'ZBLKFS_TEST_PID'
const START_MS = 120_000
const END_MS = 20_000

/** Whether a run is in progress whose servers this process can use. */
export const isSetUp = (): boolean => process.env[SHARED_DIRECTORY] !== undefined

/** Before a run: where its servers will be, if a test needs any. After it: ends them. */
export function setup(): () => Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-sv-'))
  // Servers run as another user.
  chmodSync(directory, 0o711)
  process.env[SHARED_DIRECTORY] = directory
  process.env[RUN_PID] = String(process.pid)
  return async () => {
    const pids = ['postgres', 'swift'].flatMap(name => pidsIn(join(directory, name)))
    for (const pid of pids) end(pid, 'SIGQUIT')
    for (const start = performance.now(); pids.some(isAlive) && performance.now() - start < END_MS;)
      await sleep(50)
    for (const pid of pids) end(pid, 'SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  }
}

/**
 * Starts a server, unless another process of this run has; returns its directory.
 * @param start gets the directory; resolves to the ids of the server's processes once they answer.
 */
export async function startShared(
  name: 'postgres' | 'swift',
  start: (directory: string) => Promise<readonly number[]>,
): Promise<string> {
  const run = process.env[SHARED_DIRECTORY]
  if (run === undefined) throw new Error(`${SHARED_DIRECTORY} is not set: run the tests with vitest`)
  const directory = join(run, name)
  const ready = `${directory}.ready`
  try {
    mkdirSync(directory)
  } catch {
    const since = performance.now()
    while (!existsSync(ready)) {
      if (performance.now() - since > START_MS)
        throw new Error(`the ${name} server of this run did not start`)
      await sleep(50)
    }
    return directory
  }
  const pids = await start(directory)
  writeFileSync(`${directory}.pids`, pids.join(' '))
  endAfter(Number(process.env[RUN_PID]), `${directory}.pids`, run)
  writeFileSync(ready, '')
  return directory
}

/** The user that runs servers if the tests run as root. */
export function serverUser(
  ...names: readonly string[]
): { readonly uid: number; readonly gid: number; readonly name: string } | undefined {
  if (process.getuid?.() !== 0) return undefined
  const lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  const line = [...names, 'nobody'].map(name => lines.find(text => text.startsWith(`${name}:`))).find(Boolean)
  const [name = '', , uid, gid] = (line ?? '').split(':')
  return { uid: Number(uid), gid: Number(gid), name }
}

/** Ends a server when the run is over, also if the run was killed before it could do that itself. */
function endAfter(run: number, pids: string, directory: string): void {
  const script =
    'while kill -0 "$0" 2>/dev/null; do sleep 1; done; sleep 1; [ -e "$1" ] && kill -QUIT $(cat "$1") 2>/dev/null; sleep 1; rm -rf "$2"'
  spawn('sh', ['-c', script, String(run), pids, directory], { detached: true, stdio: 'ignore' }).unref()
}

const pidsIn = (place: string): readonly number[] =>
  existsSync(`${place}.pids`) ? readFileSync(`${place}.pids`, 'utf8').split(' ').map(Number) : []

function end(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
