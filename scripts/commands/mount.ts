/** `zblkfs mount DB DIR`: checks what can be checked, then serves the mount in the background or here. */
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { NoAnswerError } from '../../mount/daemon/no-answer.ts'
import { findMount } from '../find-mount.ts'
import { MountError } from '../../mount/drivers/driver.ts'
import { existsSync, realpathSync } from '../../store/os-files.ts'
import { Command, Option } from 'commander'
import { checkMountPoint } from '../../mount/drivers/kernel/mount-point.ts'
import type { MountSettings } from '../../mount/daemon/mount-settings.ts'
import { askStarter, startDaemon } from '../daemon-process.ts'
import { type KeyOptions, keySourceOf } from '../key-source.ts'
import { setKeySource } from '../../store/database-key.ts'
import { UsageError, CommandError } from '../failure.ts'
import { LOG_LEVELS, type LogLevel, logPathFor } from '../log-file.ts'
import { describeMountOptions, isRemount, parseMountOptions, parseRemountOptions } from '../mount-options.ts'
import { branchAt, branchPath } from '../../store/branches.ts'
import { databasePath } from '../foreign/database-path.ts'
import { ZBLK_FORMATS } from '../../core/objects/zblk-format.ts'
import { remount } from '../remount.ts'
import { MOUNT_FILES_MIN, openFilesLimit } from '../open-files.ts'
import { say } from '../say.ts'

const STATUS_TIMEOUT_MS = 5000

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
  // The process that starts a daemon does without the modules that serve.
  if (options.daemon === true)
    await (await import('../serve-mount.ts')).runInBackground(settings, options.logLevel)
  else if (options.foreground === true)
    await (await import('../serve-mount.ts')).runHere(settings, options.logLevel)
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
