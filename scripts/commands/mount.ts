/** `zblkfs mount DB DIR`: checks what can be checked, then serves the mount in the background or here. */
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { NoAnswerError } from '../../mount/daemon/no-answer.ts'
import { findMount } from '../find-mount.ts'
import { MountError } from '../../mount/drivers/driver.ts'
import { CodedError, toWire } from '../../store/errors.ts'
import { explain } from '../advice.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { existsSync, realpathSync } from '../../store/os-files.ts'
import { Command, Option } from 'commander'
import type { Logger } from 'pino'
import { checkMountPoint } from '../../mount/drivers/kernel/mount-point.ts'
import { returnFreedMemory } from '../../mount/daemon/allocator.ts'
import type { MountSettings } from '../../mount/daemon/mount-settings.ts'
import { MountServer } from '../../mount/daemon/mount-server.ts'
import { Problems } from '../../mount/daemon/problems.ts'
import { openFileSystem } from '../../mount/daemon/open-file-system.ts'
import { formatTid } from '../../store/ids.ts'
import { askStarter, reportStart, startDaemon } from '../daemon-process.ts'
import { type KeyOptions, keySourceOf } from '../key-source.ts'
import { setKeySource } from '../../store/database-key.ts'
import { EXIT_FAILURE, UsageError, CommandError } from '../failure.ts'
import { LOG_LEVELS, type LogLevel, logPathFor, logToFile, logToTerminal } from '../log.ts'
import { describeMountOptions, isRemount, parseMountOptions, parseRemountOptions } from '../mount-options.ts'
import { branchAt, branchPath } from '../../store/branches.ts'
import { databasePath } from '../foreign/database-path.ts'
import { ZBLK_FORMATS } from '../../core/objects/zblk-format.ts'
import { remount } from '../remount.ts'
import { MOUNT_FILES_MIN, openFilesLimit } from '../open-files.ts'
import { say, warn } from '../say.ts'
import { serviceManager } from '../service-manager.ts'

const STATUS_TIMEOUT_MS = 5000
/** Time for unmounting if what is not stored is given up. */
const DISCARD_TIMEOUT_MS = 5000

interface Options {
  readonly foreground?: boolean
  readonly daemon?: boolean
  readonly option: readonly string[]
  readonly zblkFormat?: string
  readonly logLevel: LogLevel
}

export function mountCommand(): Command {
  return new Command('mount')
    .description('Mount a database on a directory. The database is created if it does not exist.')
    .argument(
      '<db>',
      'the database: a file, or postgres://USER@HOST/NAME; of ZODB: Data.fs or [relstorage:]main.sqlite3, read-only',
    )
    .argument('<dir>', 'an empty directory')
    .option('-f, --foreground', 'stay in the foreground and log to the terminal; Ctrl-C unmounts')
    .option(
      '-o, --option <options>',
      'mount options, see below',
      (list, lists: string[]) => [...lists, list],
      [],
    )
    .addOption(new Option('--zblk-format <format>', 'as -o zblk_format=').choices(ZBLK_FORMATS))
    .addOption(
      new Option('--log-level <level>', 'the least severe messages to log')
        .choices(LOG_LEVELS)
        .default('info'),
    )
    .addOption(new Option('--daemon').hideHelp())
    .addHelpText('after', `\n${describeMountOptions()}`)
    .action(mount)
}

async function mount(database: string, path: string, options: Options, globals: Command): Promise<void> {
  const lists = [...options.option, ...(options.zblkFormat ? [`zblk_format=${options.zblkFormat}`] : [])]
  if (isRemount(lists)) return await remount(path, parseRemountOptions(lists))
  const parsed = parseMountOptions(lists)
  assertEnoughFiles()
  const directory = await freeMountPoint(path, parsed.nonEmpty)
  const settings: MountSettings = { ...parsed, database: mounted(database, parsed.branch), directory }
  if (`${settings.database}/`.startsWith(`${directory}/`))
    throw new UsageError(`${database} lies in ${path}, where the mount would hide it: mount elsewhere`)

  const keys = keySourceOf({ ...globals.optsWithGlobals<KeyOptions>(), ...settings.key })
  setKeySource(options.daemon === true ? askStarter : keys)
  if (options.daemon === true) await runInBackground(settings, options.logLevel)
  else if (options.foreground === true) await runHere(settings, options.logLevel)
  else {
    const parameters = ['mount', databasePath(database), directory, '--log-level', options.logLevel]
    const passed = [...parameters, ...lists.flatMap(list => ['-o', list])]
    await startDaemon(passed, logPathFor(directory), keys)
    say(
      `${parsed.branch === undefined ? '' : `the branch ${parsed.branch} of `}${database} is mounted at ${path}`,
    )
  }
}

/** The name of what is mounted: the database, or its branch. */
function mounted(text: string, branch: string | undefined): string {
  const database = databasePath(text)
  if (branch === undefined) return database
  const place = branchAt(realPathOf(database), branch)
  return branchPath(place.database, place.name)
}

const realPathOf = (path: string): string => (existsSync(path) ? realpathSync(path) : path)

/** A daemon without descriptors would accept changes and could not even report its state. */
function assertEnoughFiles(): void {
  const { text, limit } = openFilesLimit()
  if (limit < MOUNT_FILES_MIN)
    throw new CommandError(
      `a mount needs ${MOUNT_FILES_MIN} open files, and at most ${text} are allowed: raise the limit with 'ulimit -n 1024'`,
    )
}

/** The real path of a mount point. @throws MountError; CommandError if a dead mount is there. */
async function freeMountPoint(path: string, nonEmpty: boolean): Promise<string> {
  try {
    return checkMountPoint(path, nonEmpty)
  } catch (error) {
    if (error instanceof MountError && error.code === 'already-mounted' && (await isDead(path)))
      throw new CommandError(`${path} is a mount whose daemon has died`, { code: 'dead-mount', path })
    throw error
  }
}

async function isDead(path: string): Promise<boolean> {
  const mount = findMount(path)
  try {
    await callDaemon(await controlPaths(mount.device, ownerOf(mount)), 'status', {}, STATUS_TIMEOUT_MS)
    return false
  } catch (error) {
    return error instanceof NoAnswerError && error.reason === 'gone'
  }
}

/** Serves in the process that {@link startDaemon} started. */
async function runInBackground(settings: MountSettings, level: LogLevel): Promise<void> {
  process.title = `zblkfs ${settings.database} ${settings.directory}`
  process.umask(0o077)
  const problems = new Problems()
  const log = logToFile(logPathFor(settings.directory), level, problems)
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
  // Why it rejects is in the log.
  process.exit(
    await ended.then(
      () => 0,
      () => EXIT_FAILURE,
    ),
  )
}

async function runHere(settings: MountSettings, level: LogLevel): Promise<void> {
  process.title = `zblkfs ${settings.database} ${settings.directory}`
  const problems = new Problems()
  const log = logToTerminal(level, problems)
  process.stdout.on('error', () => {}) // The reader of the output is gone; the mount stays.
  const manager = await serviceManager()
  const { server, onSignal } = await serve(settings, log, problems)
  say(`${settings.database} is mounted at ${settings.directory}`)
  manager.ready(`${settings.database} is mounted at ${settings.directory}`)
  await untilEnded(server, onSignal, log, () => manager.stopping()).catch((error: unknown) => {
    warn(error instanceof CodedError ? explain(error) : String(error))
    process.exit(EXIT_FAILURE)
  })
  say(`${settings.directory} is unmounted, all is stored (transaction ${formatTid(server.lastTid)})`)
  process.exit(0)
}

/** From here on `handle` gets the signals that ask for an end, those that came before included. */
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
          process.exit(EXIT_FAILURE)
        }
      }
    }
    onSignal(signal => void terminate(signal))
  })
  await Promise.race([server.ended, terminated])
}
