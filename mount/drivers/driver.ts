/**
 * What serves {@link Operations} to the kernel at a mount point. mount/kernel and mount/fuse-native are the two.
 *
 * A driver mounts, passes requests on, and ends when the mount is gone, whoever unmounted it. It never ends by
 * itself while the mount stands, and an operation that fails never ends it.
 */
import { CodedError, type CodedErrorOptions } from '../../store/errors.ts'
import type { Logger } from 'pino'
import type { Operations } from '../../core/file-system/operations.ts'

/** How to mount. What is absent is off. */
export interface MountOptions {
  /** An existing empty directory. */
  readonly mountPoint: string
  /** What the mount is listed by (the database's path): the source in /proc/self/mountinfo. */
  readonly source: string
  readonly log: Logger
  readonly readOnly?: boolean
  /** Other users than the one who mounts may use the mount. */
  readonly allowOther?: boolean
  /** Setuid and setgid programs on the mount run as their owners. */
  readonly suid?: boolean
  /** Device nodes on the mount work. */
  readonly dev?: boolean
  readonly noExec?: boolean
  /** Listed as noatime; the filesystem keeps the access times. */
  readonly noAtime?: boolean
  /** Mount over a directory that has entries. */
  readonly nonEmpty?: boolean
  /** The kernel collects small writes before it passes them on. A driver that cannot, does without. */
  readonly writebackCache?: boolean
}

/** How a driver is started: resolves when the mount answers. @throws MountError where it cannot be mounted. */
export type Mount = (operations: Operations, options: MountOptions) => Promise<Driver>

/** A mount that is being served. */
export interface Driver {
  /** Resolves when the mount is gone and every operation that it asked for has settled. Never rejects. */
  readonly done: Promise<void>
  /**
   * Unmounts; resolves when {@link Driver.done} has.
   * @param lazy - take it out of the tree at once, in use or not; it ends when its last user does.
   * @throws MountError where it is in use or may not be unmounted.
   */
  unmount(lazy?: boolean): Promise<void>
}

/** A mount or unmount that did not happen; the message names the cause and the next step. */
export class MountError extends CodedError {
  override readonly name = 'MountError'
  constructor(message: string, options: CodedErrorOptions = {}) {
    super(message, { code: 'cannot-mount', ...options })
  }
}
