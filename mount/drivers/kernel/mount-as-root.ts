/** Mounting by mount(2), for root. */
import { processOwner } from '../../../core/process-owner.ts'
import { systemCode } from '../../../store/errors.ts'
import { closeSync, constants as fsConstants } from 'node:fs'
import { openSync, readlinkSync } from '../../../store/os-files.ts'
import { constants } from 'node:os'
import { getSystemErrorMessage } from 'node:util'
import { MountError, type MountOptions } from '../driver.ts'
import { O_PATH } from '../../../store/o-path.ts'
import { deviceError, FUSE_DEVICE } from '../fuse-device.ts'
import { FILE_SYSTEM_TYPE } from './mount-point.ts'
import { errno, mount } from './system-calls.ts'

/** mount(2)'s flags. Source: linux/mount.h. */
const MountFlag = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  NOATIME: 1024,
  RELATIME: 1 << 21,
} as const

/** st_mode of the root directory, in octal. */
const ROOT_MODE = '40000'

/**
 * Mounts at `mountPoint`, a real path. It is opened first, and the mount is made where the descriptor is: another user who owns
 * a directory on the way could replace it by a link meanwhile, and would choose what root mounts over.
 * @returns the descriptor of /dev/fuse on which the mount is served, non-blocking.
 * @throws MountError.
 */
export function mountAsRoot(mountPoint: string, options: MountOptions): number {
  const place = openPlace(mountPoint)
  try {
    return mountAt(place, mountPoint, options)
  } finally {
    closeSync(place)
  }
}

/** @throws MountError if the path leads elsewhere by now. */
function openPlace(mountPoint: string): number {
  const { O_DIRECTORY, O_NOFOLLOW } = fsConstants
  try {
    const place = openSync(mountPoint, O_PATH | O_DIRECTORY | O_NOFOLLOW)
    if (readlinkSync(`/proc/self/fd/${place}`) === mountPoint) return place
    closeSync(place)
  } catch (error) {
    throw new MountError(`${mountPoint} cannot be opened (${systemCode(error) ?? 'unknown'})`, {
      cause: error,
    })
  }
  throw new MountError(`${mountPoint} leads elsewhere by now: nothing was mounted`)
}

function mountAt(place: number, mountPoint: string, options: MountOptions): number {
  const fd = openDevice()
  const flags = flagsOf(options)
  const data = [
    `fd=${fd}`,
    `rootmode=${ROOT_MODE}`,
    `user_id=${processOwner().uid}`,
    `group_id=${processOwner().gid}`,
    'default_permissions',
    ...(options.allowOther ? ['allow_other'] : []),
  ]
  if (mount(options.source, `/proc/self/fd/${place}`, FILE_SYSTEM_TYPE, flags, data.join(',')) === 0)
    return fd
  const code = errno()
  closeSync(fd)
  const reason = getSystemErrorMessage(-code)
  throw new MountError(`mount(2) refuses ${mountPoint} (${reason}): mounting needs CAP_SYS_ADMIN`, {
    code: 'mount-forbidden',
  })
}

type Flags = Pick<MountOptions, 'readOnly' | 'suid' | 'dev' | 'noExec' | 'noAtime'>

const flagsOf = ({ readOnly, suid, dev, noExec, noAtime }: Flags): number =>
  (readOnly ? MountFlag.RDONLY : 0) |
  (suid ? 0 : MountFlag.NOSUID) |
  (dev ? 0 : MountFlag.NODEV) |
  (noExec ? MountFlag.NOEXEC : 0) |
  // Without either, a remount keeps what was set.
  (noAtime ? MountFlag.NOATIME : MountFlag.RELATIME)

/**
 * Changes the kernel's flags of a mount. Never call it in the daemon that serves the mount: the kernel may wait for it.
 * @throws MountError, for example if files are open for writing and it is to become read-only.
 */
export function setMountFlags(mountPoint: string, source: string, flags: Flags): void {
  if (mount(source, mountPoint, FILE_SYSTEM_TYPE, MountFlag.REMOUNT | flagsOf(flags), '') === 0) return
  const code = errno()
  const isBusy = code === constants.errno.EBUSY
  const reason = isBusy ? 'files are open for writing' : getSystemErrorMessage(-code)
  throw new MountError(`the kernel does not change the flags of ${mountPoint}: ${reason}`)
}

/** @throws MountError if /dev/fuse is missing or may not be opened. */
function openDevice(): number {
  const { O_RDWR, O_NONBLOCK } = fsConstants
  try {
    return openSync(FUSE_DEVICE, O_RDWR | O_NONBLOCK)
  } catch (error) {
    throw deviceError(error)
  }
}
