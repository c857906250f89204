/** The mount that a command's DIR means. */
import { controlPaths } from '../mount/daemon/control-path.ts'
import {
  callDaemon,
  type CallName,
  NoAnswerError,
  type Parameters,
  type Result,
} from '../mount/daemon/control-protocol.ts'
import { findMountOf, ownerOf } from '../mount/daemon/mounts.ts'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { CommandError } from './failure.ts'

/** @throws CommandError where `path` is not in a mount of zblkfs. */
export async function findMount(path: string): Promise<MountedDirectory> {
  const mount = await findMountOf(path)
  if (mount === undefined)
    throw new CommandError(`${path} is no zblkfs mount: 'zblkfs status' lists the mounts`)
  return mount
}

/**
 * Calls the daemon of a mount.
 * @throws CallFailedError with the daemon's message; CommandError where none answers.
 */
export async function callMount<Name extends CallName>(
  mount: MountedDirectory,
  call: Name,
  parameters: Parameters<Name>,
  timeoutMs: number,
): Promise<Result<Name>> {
  try {
    return await callDaemon(await controlPaths(mount.device, ownerOf(mount)), call, parameters, timeoutMs)
  } catch (error) {
    if (!(error instanceof NoAnswerError)) throw error
    throw new CommandError(`${mount.mountPoint}: ${error.message}; ${nextStep(mount, error)}`, {
      cause: error,
    })
  }
}

function nextStep({ mountPoint }: MountedDirectory, { reason }: NoAnswerError): string {
  if (reason === 'forbidden') return 'ask that user, or root'
  if (reason === 'gone')
    return `take the dead mount away with 'zblkfs umount -l ${mountPoint}' and mount again`
  return `see whether its process is stopped ('zblkfs status'), or take it away with 'zblkfs umount -l ${mountPoint}'`
}
