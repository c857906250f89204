/** `zblkfs umount DIR`: stores everything, unmounts, and waits until the daemon is gone. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { NoAnswerError } from '../../mount/daemon/no-answer.ts'
import { isRunning } from '../../mount/daemon/is-running.ts'
import { listMounts, ownerOf } from '../../mount/daemon/mounts.ts'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import { unmount, type Unmounting } from '../../mount/mount-points/unmount.ts'
import { locate } from '../../mount/mount-points/locate.ts'
import { CodedError } from '../../store/errors.ts'
import { parseTid, TID_NONE, timeFromTid } from '../../store/ids.ts'
import { formatTime } from '../../store/moments.ts'
import { CommandError } from '../failure.ts'
import { formatBytes } from '../units.ts'
import { findMount } from '../find-mount.ts'
import { say } from '../say.ts'
import { shellWord } from '../shell-word.ts'

const UNMOUNT_TIMEOUT_MS = 600_000
/** For -l and -f, which do not wait for a stopped daemon. */
const SHORT_TIMEOUT_MS = 5000
const EXIT_POLL_MS = 20
const EXIT_TIMEOUT_MS = 10_000

interface Options {
  readonly lazy?: boolean
  readonly force?: boolean
  readonly discard?: boolean
}

export function umountCommand(): Command {
  return new Command('umount')
    .description('Store everything, unmount, and return when the daemon has ended.')
    .argument('<dir>', 'the mount')
    .option('-l, --lazy', 'detach it at once, even if it is in use or dead')
    .option('--discard', 'also if changes cannot be stored: they are lost')
    .option(
      '-f, --force',
      'also unmount if its daemon does not answer: processes that wait for it get an error',
    )
    .action(async (directory: string, options: Options) => {
      const mount = findMountPoint(directory)
      const other = bindSource(mount)
      if (other !== undefined) {
        await unmount(mount, howTo(options))
        say(`${mount.mountPoint} is unmounted; ${other} stays mounted`)
        return
      }
      try {
        say(await askDaemon(mount, options))
      } catch (error) {
        if (!(error instanceof NoAnswerError)) throw error
        say(await unmountWithoutDaemon(mount, options, error))
      }
    })
}

/** The mount at a directory. @throws CommandError if it is only a directory in a mount, or another user's link leads to it. */
function findMountPoint(directory: string): MountedDirectory {
  const mount = findMount(directory)
  const { path } = locate(directory)
  if (path !== mount.mountPoint)
    throw new CommandError(
      `${directory} is a directory in the mount ${mount.mountPoint}: name the mount to unmount it`,
    )
  return mount
}

/** The other places of a mount's filesystem: where it is mounted itself, and bind mounts. */
const otherPlaces = ({ id, device }: MountedDirectory): readonly string[] =>
  listMounts()
    .filter(other => other.device === device && other.id !== id)
    .map(({ mountPoint }) => mountPoint)

/** The place of the mount that this is a copy of, if it is one: the first of its device that shows the whole tree. */
function bindSource(mount: MountedDirectory): string | undefined {
  const whole = listMounts().find(({ device, root }) => device === mount.device && root === '/')
  return whole === undefined || whole.mountPoint === mount.mountPoint ? undefined : whole.mountPoint
}

const howTo = ({ lazy = false, force = false }: Options): Unmounting =>
  force ? 'force' : lazy ? 'lazy' : 'whole'

async function askDaemon(mount: MountedDirectory, options: Options): Promise<string> {
  const { lazy = false, force = false, discard = false } = options
  const paths = await controlPaths(mount.device, ownerOf(mount))
  const timeoutMs = lazy || force ? SHORT_TIMEOUT_MS : UNMOUNT_TIMEOUT_MS
  const { directory, pid } = await callDaemon(paths, 'status', {}, SHORT_TIMEOUT_MS)
  const isLeftCopy = directory !== mount.mountPoint
  const { tid, lost } = await storeAll().catch(async (error: unknown) => {
    throw await whyNotStored(error, mount, paths)
  })
  if (isLeftCopy) await unmount(mount, howTo(options))
  if (lost !== undefined) return lost
  const stored = `${mount.mountPoint} is unmounted, all is stored (transaction ${tid})`
  const [place, ...more] = otherPlaces(mount)
  if (place !== undefined)
    return `${stored}; process ${pid} ends when ${[place, ...more].join(' and ')} is unmounted too`
  if (await hasEnded(pid, lazy ? EXIT_POLL_MS : EXIT_TIMEOUT_MS)) return stored
  return lazy
    ? `${stored}; process ${pid} serves the processes that still use it, and ends with the last of them`
    : `${stored}; process ${pid} is still running: it is ending, or another mount namespace has a copy of the mount`

  /** The daemon unmounts only its own mount. If a bind mount is all that is left of that, it stores the changes. */
  async function storeAll(): Promise<{ readonly tid: string; readonly lost?: string }> {
    if (isLeftCopy && !discard) return await callDaemon(paths, 'sync', {}, timeoutMs)
    return await callDaemon(paths, 'unmount', { lazy, discard }, timeoutMs)
  }
}

/** If changes could not be stored: what would be lost, and what to do. Every other error stays as it is. */
async function whyNotStored(
  failure: unknown,
  mount: MountedDirectory,
  paths: readonly string[],
): Promise<unknown> {
  if (!(failure instanceof CodedError) || failure instanceof NoAnswerError || failure.code === 'mount-in-use')
    return failure
  const status = await callDaemon(paths, 'status', {}, SHORT_TIMEOUT_MS).catch(() => undefined)
  const isRemoved = failure.code === 'database-gone'
  if (status === undefined || (status.failure === undefined && !isRemoved)) return failure
  const { pid, tid, database, unstoredBytes } = status
  const { mountPoint } = mount
  const since = `transaction ${tid} of ${formatTime(timeFromTid(parseTid(tid) ?? TID_NONE))}`
  const what = isRemoved
    ? `the whole database, with ${formatBytes(unstoredBytes)} of changes since ${since}`
    : `${formatBytes(unstoredBytes)} of changes since ${since}`
  return new CommandError(
    `${mountPoint} stays mounted: ${failure.message}.\n${howToStore(failure, mountPoint, database)}\n` +
      `'zblkfs umount --discard ${shellWord(mountPoint)}', or SIGTERM to process ${pid} twice, gives up what is in memory alone: ${what}.`,
    { cause: failure },
  )
}

function howToStore({ code }: CodedError, mountPoint: string, database: string): string {
  if (code === 'database-gone')
    return `'zblkfs rescue ${shellWord(mountPoint)} TARGET' saves its bytes in a new database.`
  if (code === 'no-space')
    return (
      `Make room on the disk of ${database}, or remove files in ${mountPoint} and run 'zblkfs pack --keep 0 ${shellWord(mountPoint)}'; ` +
      'then unmount again.'
    )
  return 'Correct the cause, then unmount again.'
}

/** No daemon answers: only the mount can be removed. A live daemon then stores its changes and ends. */
async function unmountWithoutDaemon(
  mount: MountedDirectory,
  options: Options,
  { reason, message }: NoAnswerError,
): Promise<string> {
  const { mountPoint } = mount
  if (reason === 'forbidden') throw new CommandError(`${mountPoint}: ${message}; ask that user, or root`)
  if (reason === 'unreachable') return await unmountWithoutCall(mount, options, message)
  if (reason === 'silent' && howTo(options) === 'whole')
    throw new CommandError(
      `${mountPoint}: ${message}; detach it with 'zblkfs umount -l ${shellWord(mountPoint)}', or with -f, which also fails the requests ` +
        'that wait for it; it stores everything when it continues',
    )
  await unmount(mount, options.force === true ? 'force' : 'lazy')
  assertGone(mount)
  return reason === 'silent'
    ? `${mountPoint} is unmounted; its daemon does not answer, and stores its changes when it continues`
    : `${mountPoint} is unmounted; its daemon had died, so that changes since the last fsync or commit may be missing`
}

/** @throws CommandError if another place has the mount. */
function assertGone({ mountPoint, device, source }: MountedDirectory): void {
  // The device number may have been reused by another mount.
  if (listMounts().some(other => other.device === device && other.source === source))
    throw new CommandError(`${mountPoint} is still mounted elsewhere: see /proc/self/mountinfo`)
}

/** The daemon may run: it then stores its changes when its mount is gone. */
async function unmountWithoutCall(mount: MountedDirectory, options: Options, why: string): Promise<string> {
  const { mountPoint } = mount
  await unmount(mount, howTo(options))
  assertGone(mount)
  return `${mountPoint} is unmounted; ${why}. If it runs, it stores its changes and ends`
}

async function hasEnded(pid: number, timeoutMs: number): Promise<boolean> {
  const end = Date.now() + timeoutMs
  for (;;) {
    if (!isRunning(pid)) return true
    if (Date.now() >= end) return false
    await sleep(EXIT_POLL_MS)
  }
}
