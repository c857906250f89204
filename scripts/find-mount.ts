/** Finds the mount of a command's DIR, and calls its daemon. */
import { controlPaths } from '../mount/daemon/control-path.ts'
import { callDaemon, type CallName, type Parameters, type Result } from '../mount/daemon/control-protocol.ts'
import { NoAnswerError } from '../mount/daemon/no-answer.ts'
import { listMounts, ownerOf } from '../mount/daemon/mounts.ts'
import { locate, type Location } from '../mount/mount-points/locate.ts'
import { mountedAt, type MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { CommandError } from './failure.ts'
import { assertLinks } from './own-links.ts'
import { shellWord } from './shell-word.ts'

/** The mount that contains a path, to change something. @throws CommandError as {@link mountAt} and {@link assertLinks}. */
export function findMount(path: string): MountedDirectory {
  const located = locate(path)
  assertLinks(path, located)
  return mountOf(path, located)
}

/** The mount that contains a path. @throws CommandError if there is none. */
export function mountAt(path: string): MountedDirectory {
  return mountOf(path, locate(path))
}

function mountOf(path: string, { mount, path: real }: Location): MountedDirectory {
  const hidden = mount === undefined ? hiddenAt(real) : undefined
  if (hidden !== undefined)
    throw new CommandError(
      `${path} is hidden: ${hidden.by.source} (${hidden.by.type}) is mounted over the mount of ${hidden.mount.source}; ` +
        `unmount that first with 'umount ${hidden.by.mountPoint}'`,
    )
  if (mount === undefined)
    throw new CommandError(`${path} is not in a zblkfs mount`, { code: 'not-mounted', path })
  return mount
}

/** A mount that another filesystem is mounted over, so that no path leads into it. */
function hiddenAt(
  path: string,
): { readonly mount: MountedDirectory; readonly by: MountedDirectory } | undefined {
  const mount = listMounts().find(
    ({ mountPoint }) => mountPoint === path || path.startsWith(`${mountPoint}/`),
  )
  const by = mount === undefined ? undefined : mountedAt(mount.mountPoint)
  return mount === undefined || by === undefined || by.id === mount.id ? undefined : { mount, by }
}

/** How long a daemon may take to answer that it is alive: a stopped one is reported within seconds. */
export const ALIVE_TIMEOUT_MS = 5000

/**
 * Calls the daemon of a mount.
 * @throws the daemon's error, a CodedError; CommandError if no daemon answers.
 */
export async function callMount<Name extends CallName>(
  mount: MountedDirectory,
  call: Name,
  parameters: Parameters<Name>,
  timeoutMs: number,
): Promise<Result<Name>> {
  try {
    const paths = await controlPaths(mount.device, ownerOf(mount))
    if (timeoutMs > ALIVE_TIMEOUT_MS) await callDaemon(paths, 'status', {}, ALIVE_TIMEOUT_MS)
    return await callDaemon(paths, call, parameters, timeoutMs)
  } catch (error) {
    throw error instanceof NoAnswerError ? unanswered(mount, error) : error
  }
}

/** The error of a command for a daemon that does not answer, with the next step. */
export const unanswered = (mount: MountedDirectory, error: NoAnswerError): CommandError =>
  new CommandError(`${mount.mountPoint}: ${error.message}; ${nextStep(mount, error)}`, {
    cause: error,
    code: error.code,
  })

function nextStep({ mountPoint }: MountedDirectory, { reason }: NoAnswerError): string {
  if (reason === 'forbidden') return 'ask that user, or root'
  if (reason === 'unreachable')
    return `unmount it with 'zblkfs umount ${shellWord(mountPoint)}': if its daemon runs, it stores its changes then`
  if (reason === 'gone')
    return `remove the dead mount with 'zblkfs umount -l ${shellWord(mountPoint)}' and mount again`
  return `check whether its process is stopped ('zblkfs status'), or remove the mount with 'zblkfs umount -l ${shellWord(mountPoint)}'`
}
