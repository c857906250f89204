/** The kernel driver: mounts, serves the FUSE protocol over /dev/fuse, unmounts. */
import { isRoot } from '../../../core/process-owner.ts'
import { type Driver, type Mount, MountError, type MountOptions } from '../driver.ts'
import { OwnMount } from '../../mount-points/own-mount.ts'
import { MAX_TRANSFER_BYTES } from './abi/init.ts'
import { mountAsRoot } from './mount-as-root.ts'
import { mountAsUser } from './mount-as-user.ts'
import { checkMountPoint } from './mount-point.ts'
import { raiseReadAhead } from './read-ahead.ts'
import { Session } from './session.ts'

/** Mounts, and serves the FUSE protocol without a library. Linux only. */
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

const sessionOptions = ({ log, meter, accessLog, acl = false }: MountOptions) => ({
  log,
  meter,
  accessLog,
  acl,
})

class KernelDriver implements Driver {
  readonly done: Promise<void>
  readonly canInvalidate = true
  readonly #mount: OwnMount

  constructor(mountPoint: string, session: Session) {
    this.done = session.done
    this.#mount = new OwnMount(mountPoint, this.done)
  }

  unmount(lazy = false): Promise<void> {
    return this.#mount.unmount(lazy)
  }
}
