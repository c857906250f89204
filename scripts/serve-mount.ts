/** Serves a mount in this process, in the background or in the foreground, until it has ended. */
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { returnFreedMemory } from '../mount/daemon/allocator.ts'
import type { MountSettings } from '../mount/daemon/mount-settings.ts'
import { MountServer } from '../mount/daemon/mount-server.ts'
import { openFileSystem } from '../mount/daemon/open-file-system.ts'
import { Problems } from '../mount/daemon/problems.ts'
import { CodedError, toWire } from '../store/errors.ts'
import { formatTid } from '../store/ids.ts'
import { explain } from './advice.ts'
import { reportStart } from './daemon-process.ts'
import { endProcess } from './end-process.ts'
import { EXIT_FAILURE } from './failure.ts'
import { logToFile, logToTerminal } from './log.ts'
import { type LogLevel, logPathFor, removeOldLogs } from './log-file.ts'
import { say, warn } from './say.ts'
import { serviceManager } from './service-manager.ts'

/** Time for unmounting if what is not stored is given up. */
const DISCARD_TIMEOUT_MS = 5000
/** Time after a signal for what a mount offers beside its files to end. */
const SERVICES_TIMEOUT_MS = 1000

/** Serves in the process that startDaemon started, which exits at the end. */
export async function runInBackground(settings: MountSettings, level: LogLevel): Promise<void> {
  process.title = `zblkfs ${settings.database} ${settings.directory}`
  process.umask(0o077)
  const problems = new Problems()
  const path = logPathFor(settings.directory)
  const log = logToFile(path, level, problems)
  process.on('uncaughtException', error => {
    log.fatal({ err: error }, 'a bug in zblkfs ended the daemon')
    process.exit(EXIT_FAILURE)
  })
  const { server, onSignal } = await serve(settings, log, problems).catch(async (error: unknown) => {
    log.error({ err: error }, 'not mounted')
    await reportStart({ failed: toWire(error) })
    process.exit(EXIT_FAILURE)
  })
  const ended = untilEnded(server, onSignal, log)
  await reportStart({ mounted: settings.directory })
  void removeOldLogs(dirname(path)).catch((error: unknown) => log.warn({ err: error }, 'old logs stay'))
  // Why it rejects is in the log.
  const code = await ended.then(
    () => 0,
    () => EXIT_FAILURE,
  )
  endProcess(code, log)
}

/** Serves in the foreground and logs to the terminal; exits at the end. */
export async function runHere(settings: MountSettings, level: LogLevel): Promise<void> {
  process.title = `zblkfs ${settings.database} ${settings.directory}`
  const problems = new Problems()
  const log = logToTerminal(level, problems)
  process.stdout.on('error', () => {}) // The reader of the output is gone; the mount stays.
  const manager = serviceManager()
  const { server, onSignal } = await serve(settings, log, problems)
  say(`${settings.database} is mounted at ${settings.directory}`)
  manager.ready(`${settings.database} is mounted at ${settings.directory}`)
  await untilEnded(server, onSignal, log, () => manager.stopping()).catch((error: unknown) => {
    warn(error instanceof CodedError ? explain(error) : String(error))
    return endProcess(EXIT_FAILURE, log)
  })
  say(`${settings.directory} is unmounted, all is stored (transaction ${formatTid(server.lastTid)})`)
  endProcess(0, log)
}

/** From here on `handle` gets the signals that end the process, including those received before. */
type OnSignal = (handle: (signal: NodeJS.Signals) => void) => void

/** Mounts. A signal meanwhile waits: the process must not end and leave a dead mount behind. */
async function serve(
  settings: MountSettings,
  log: Logger,
  problems: Problems,
): Promise<{ readonly server: MountServer; readonly onSignal: OnSignal }> {
  returnFreedMemory()
  const opened = await openFileSystem(settings, log)
  const onSignal = collectSignals()
  return {
    server: await MountServer.start(opened, log, problems),
    onSignal,
  }
}

function collectSignals(): OnSignal {
  const early: NodeJS.Signals[] = []
  let take = (signal: NodeJS.Signals): void => void early.push(signal)
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => take(signal))
  // By default these end a process, which would leave a dead mount behind.
  for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGVTALRM', 'SIGPOLL'] as const)
    process.on(signal, () => undefined)
  return handle => {
    take = handle
    for (const signal of early.splice(0)) handle(signal)
  }
}

/**
 * Resolves when the mount has ended, by whatever cause. SIGTERM, SIGINT and SIGHUP store and unmount; where storing
 * fails the daemon stays, because it holds the only copy, and a signal after that was logged gives it up.
 */
async function untilEnded(
  server: MountServer,
  onSignal: OnSignal,
  log: Logger,
  onEnding: () => void = () => undefined,
): Promise<void> {
  let terminating: Promise<unknown> | undefined
  let hasFailed = false
  const terminated = new Promise<void>(resolve => {
    const terminate = async (signal: NodeJS.Signals): Promise<void> => {
      const isRepeated = hasFailed
      log.info({ signal }, 'storing and unmounting')
      onEnding()
      try {
        // While the first signal is being followed, another one asks whether storing is what that waits for.
        if (terminating !== undefined) return void (await server.sync())
        terminating = server.terminate().finally(() => (terminating = undefined))
        await terminating
        resolve()
      } catch (error) {
        hasFailed = true
        log.error(
          { err: error },
          'not all can be stored: correct the cause and repeat; another signal gives up what is not stored',
        )
        if (isRepeated) {
          await Promise.race([server.discard().catch(() => undefined), sleep(DISCARD_TIMEOUT_MS)])
          endProcess(EXIT_FAILURE, log)
        }
      }
    }
    onSignal(signal => void terminate(signal))
  })
  await Promise.race([server.ended, terminated])
  // The control socket and the metrics are removed; a detached mount that is still in use does not end.
  await Promise.race([
    server.ended.catch(() => undefined),
    sleep(SERVICES_TIMEOUT_MS, undefined, { ref: false }),
  ])
}
