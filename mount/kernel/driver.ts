/** The kernel driver: mounts, speaks the FUSE protocol over /dev/fuse, unmounts. */
import { constants } from 'node:os'
import { getSystemErrorMessage } from 'node:util'
import { type Driver, type Mount, MountError, type MountOptions } from '../driver.ts'
import { MAX_TRANSFER_BYTES } from './abi/init.ts'
import { mountAsRoot } from './mount-as-root.ts'
import { busyError, mountAsUser, unmountAsUser } from './mount-as-user.ts'
import { checkMountPoint } from './mount-point.ts'
import { raiseReadAhead } from './read-ahead.ts'
import { Session } from './session.ts'
import { umount2, UnmountFlag } from './system-calls.ts'

const isRoot = (): boolean => process.getuid?.() === 0

/** Mounts and serves through the FUSE protocol itself. Linux only. */
export const mountKernel: Mount = async (operations, options) => {
  const mountPoint = checkMountPoint(options.mountPoint, options.nonEmpty ?? false)
  const fd = isRoot() ? mountAsRoot(mountPoint, options) : await mountAsUser(mountPoint, options)
  const session = new Session(fd, operations, sessionOptions(options))
  const driver = new KernelDriver(mountPoint, session)
  try {
    await session.started
  } catch (error) {
    await driver.unmount(true)
    throw new MountError(`${options.mountPoint} cannot be served: ${String(error)}`, { cause: error })
  }
  raiseReadAhead(mountPoint, MAX_TRANSFER_BYTES / 1024, options.log)
  return driver
}

const sessionOptions = ({ log, writebackCache = false }: MountOptions) => ({ log, writebackCache })

class KernelDriver implements Driver {
  readonly done: Promise<void>
  readonly #mountPoint: string

  constructor(mountPoint: string, session: Session) {
    this.#mountPoint = mountPoint
    this.done = session.done
  }

  async unmount(lazy = false): Promise<void> {
    if (isRoot()) await this.#unmountAsRoot(lazy)
    else await unmountAsUser(this.#mountPoint, lazy)
    await this.done
  }

  async #unmountAsRoot(lazy: boolean): Promise<void> {
    const { result, errno } = await umount2(
      this.#mountPoint,
      UnmountFlag.NOFOLLOW | (lazy ? UnmountFlag.DETACH : 0),
    )
    if (result === 0 || errno === constants.errno.EINVAL) return // EINVAL: it is no mount any more.
    if (errno === constants.errno.EBUSY) throw busyError(this.#mountPoint)
    throw new MountError(`${this.#mountPoint} cannot be unmounted: ${getSystemErrorMessage(-errno)}`)
  }
}
