/** The device through which drivers reach the kernel. */
import { systemCode } from '../../store/errors.ts'
import { MountError } from './driver.ts'

export const FUSE_DEVICE = '/dev/fuse'

/** The error of an open(2) or access(2) of the device. */
export function deviceError(error: unknown): MountError {
  const code = systemCode(error)
  return code === 'EACCES' || code === 'EPERM'
    ? new MountError(`${FUSE_DEVICE} may not be opened by this user`, {
        code: 'device-forbidden',
        cause: error,
      })
    : new MountError(`${FUSE_DEVICE} cannot be opened (${code})`, { code: 'device-missing', cause: error })
}
