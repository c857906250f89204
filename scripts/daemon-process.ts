/**
 * Starts the daemon of a mount in the background, and reports the result to the command that started it.
 *
 * The command runs itself again, with `--daemon`, in a new session: without a terminal, inheriting only an
 * IPC channel, with standard output and error in the log file. It waits for one message: that the mount is ready, or why
 * not; before it, the daemon may ask for the key of the database. Then the channel is closed and the daemon is independent.
 */
import type { KeyQuestion, KeySource, Secret } from '../store/encryption.ts'
import { CodedError, fromWire, type WireError } from '../store/errors.ts'
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fstatSync } from 'node:fs'
import { openSync, readFileSync } from '../store/os-files.ts'
import { forbidDumps } from '../store/memory-dumps.ts'
import { startable } from '../store/os-command.ts'
import { closeOnExec } from './inherited-descriptors.ts'
import { CommandError } from './failure.ts'
import { LOG_FLAGS } from './rotating-file.ts'

/**
 * By default V8 lets the young generation grow to 48 MiB under many short-lived allocations; the daemon's garbage is mostly
 * buffers outside V8's heap, and a small generation is collected often enough for them. V8 also lets the old generation grow to
 * several times its live size before a collection; here it is collected after a growth by 40 %.
 */
export const MEMORY_FLAGS = ['--max-semi-space-size=2', '--heap-growing-percent=40']

/**
 * One heap of glibc for all threads from the start, because V8's threads begin before mount/daemon/allocator.ts runs. And enough
 * threads in libuv's pool for calls that wait for one another: a notification to the kernel may wait for a commit, which writes
 * in another thread.
 */
export const ENVIRONMENT = { MALLOC_ARENA_MAX: '1', UV_THREADPOOL_SIZE: '4' }

/** What the daemon asks for the key of an encrypted database: it has no terminal. */
interface KeyRequest {
  readonly needsKey: KeyQuestion
}

/** The answer to a {@link KeyRequest}. The channel is a pair of sockets: nothing of it is on a disk. */
interface KeyAnswer {
  readonly secret: { readonly kind: Secret['kind']; readonly bytes: string } | undefined
}

/** What the daemon reports. */
export type StartReport = { readonly mounted: string } | { readonly failed: WireError }

/** Maximum length shown of a dead daemon's output. */
const LAST_WORDS_LENGTH = 2000

/**
 * Starts `zblkfs ARGUMENTS --daemon`; resolves to its pid when the mount answers.
 * @param key answers the daemon's question for the key of an encrypted database.
 * @throws CommandError with the daemon's reason, or with its last words when it died without one.
 */
export async function startDaemon(
  parameters: readonly string[],
  logPath: string,
  key: KeySource,
): Promise<number> {
  const log = openSync(logPath, LOG_FLAGS, 0o600)
  const before = fstatSync(log).size
  const main = process.argv[1] ?? ''
  closeOnExec()
  const [program = '', ...words] = startable([
    process.execPath,
    ...process.execArgv,
    ...MEMORY_FLAGS,
    main,
    ...parameters,
    '--daemon',
  ])
  const child = spawn(program, words, {
    detached: true,
    cwd: '/',
    env: { ...process.env, ...ENVIRONMENT },
    stdio: ['ignore', log, log, 'ipc'],
  })
  closeSync(log)
  const exited = new Promise<void>(resolve => child.once('exit', () => resolve()))
  let isInterrupted = false
  const interrupt = (): void => {
    isInterrupted = true
    child.kill('SIGTERM')
  }
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt)
  const report = await new Promise<StartReport>((resolve, reject) => {
    child.on('message', (message: StartReport | KeyRequest) => {
      if (!('needsKey' in message)) return resolve(message)
      void answer(child, message, key).catch(reject)
    })
    child.once('error', error =>
      reject(new CommandError(`the daemon cannot be started: ${error.message}`, { cause: error })),
    )
    child.once('exit', (code, signal) =>
      resolve({
        failed: {
          code: 'failed',
          message: `the daemon ended (${signal ?? `exit code ${code}`}) before it had mounted: ${lastWords(logPath, before)}`,
          details: {},
        },
      }),
    )
  })
  process.off('SIGINT', interrupt).off('SIGTERM', interrupt)
  if ('failed' in report) throw reported(report.failed, logPath)
  if (isInterrupted) {
    await exited
    throw new CommandError('interrupted: nothing is mounted')
  }
  child.unref()
  child.disconnect()
  return child.pid ?? 0
}

/** Answers the daemon's question. @throws what `key` throws; the daemon ends then. */
async function answer(child: ChildProcess, { needsKey }: KeyRequest, key: KeySource): Promise<void> {
  try {
    forbidDumps()
    child.send(answerOf(await key(needsKey)))
  } catch (error) {
    child.kill('SIGTERM')
    throw error
  }
}

function answerOf(secret: Secret | undefined): KeyAnswer {
  if (secret === undefined) return { secret: undefined }
  return { secret: { kind: secret.kind, bytes: Buffer.from(secret.bytes).toString('base64') } }
}

/** Asks the command that started this process. */
export const askStarter: KeySource = question =>
  new Promise((resolve, reject) => {
    if (process.send === undefined) return resolve(undefined)
    process.once('message', ({ secret }: KeyAnswer) =>
      resolve(secret && { kind: secret.kind, bytes: Buffer.from(secret.bytes, 'base64') }),
    )
    process.once('disconnect', () => resolve(undefined))
    const request: KeyRequest = { needsKey: question }
    process.send(request, undefined, undefined, error => error !== null && reject(error))
  })

/** Why the daemon did not mount. What has no code of ours is a mistake in the daemon: its log has the stack. */
function reported(failed: WireError, logPath: string): CodedError {
  const error = fromWire(failed)
  return error instanceof CodedError
    ? error
    : new CommandError(`${error.message}; see ${logPath}`, { cause: error })
}

function lastWords(logPath: string, from: number): string {
  const words = readFileSync(logPath).subarray(from).toString('utf8').trim()
  return `${words === '' ? 'it printed nothing;' : words.slice(-LAST_WORDS_LENGTH)}\nsee ${logPath}`
}

/** Reports to the command that started this process. */
export async function reportStart(report: StartReport): Promise<void> {
  await new Promise<void>(resolve => {
    if (process.send === undefined || !process.connected) resolve()
    else process.send(report, undefined, undefined, () => resolve())
  })
  if (process.connected) process.disconnect()
}
