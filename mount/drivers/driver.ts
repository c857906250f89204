/**
 * A driver serves {@link Operations} to the kernel at a mount point. There are two: drivers/kernel and drivers/fuse-native.
 *
 * A driver mounts, passes requests on, and ends when the mount is gone, however it was unmounted. Nothing else ends it; in
 * particular, a failed operation does not.
 */
import { CodedError, type CodedErrorOptions } from '../../store/errors.ts'
import type { Logger } from 'pino'
import type { AccessLog } from '../../core/file-system/access-log.ts'
import type { RequestMeter } from '../../core/file-system/request-meter.ts'
import type { Operations } from '../../core/file-system/operations.ts'

/** How to mount. Absent options are off. */
export interface MountOptions {
  /** An existing empty directory. */
  readonly mountPoint: string
  /** The source shown in /proc/self/mountinfo: the database's path. */
  readonly source: string
  readonly log: Logger
  /** Counts the requests that are served. */
  readonly meter?: RequestMeter
  /** Its readers see each request. */
  readonly accessLog?: AccessLog | undefined
  readonly readOnly?: boolean
  /** Users other than the mounting one may use the mount. */
  readonly allowOther?: boolean
  /** Honour setuid and setgid programs on the mount. */
  readonly suid?: boolean
  /** Honour device nodes on the mount. */
  readonly dev?: boolean
  readonly noExec?: boolean
  /** Listed as noatime; the filesystem keeps the access times. */
  readonly noAtime?: boolean
  /** Mount over a directory that has entries. */
  readonly nonEmpty?: boolean
  /** The kernel checks access by POSIX ACLs. Ignored by a driver that does not support it. */
  readonly acl?: boolean
}

/** Starts a driver: resolves when the mount answers. @throws MountError if it cannot be mounted. */
export type Mount = (operations: Operations, options: MountOptions) => Promise<Driver>

/** A mount that is being served. */
export interface Driver {
  /** Resolves when the mount is gone and every operation has ended. Never rejects. */
  readonly done: Promise<void>
  /** Whether it can invalidate the kernel's caches, by a notifier passed to {@link Operations.attach}. */
  readonly canInvalidate: boolean
  /**
   * Unmounts; resolves when {@link Driver.done} has.
   * @param lazy detach it at once even if it is in use; the driver ends with the mount's last user.
   * @throws MountError if it is in use or may not be unmounted.
   */
  unmount(lazy?: boolean): Promise<void>
}

/** A failed mount or unmount; the message names the cause and the next step. */
export class MountError extends CodedError {
  override readonly name = 'MountError'
  constructor(message: string, options: CodedErrorOptions = {}) {
    super(message, { code: 'cannot-mount', ...options })
  }
}
