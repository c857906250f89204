/**
 * The fuse-native driver: Operations through libfuse2's path-based interface.
 *
 * It runs where the kernel driver cannot. docs/drivers.md lists its limits and their reasons.
 */
import { processOwner } from '../../../core/process-owner.ts'
import { constants } from 'node:fs'
import { accessSync, readdirSync, readlinkSync, realpathSync } from '../../../store/os-files.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { isOdd } from '../../../store/os-text.ts'
import { type Driver, type MountOptions, MountError } from '../driver.ts'
import { deviceError, FUSE_DEVICE } from '../fuse-device.ts'
import { errnoOf } from '../../../core/file-system/errno.ts'
import { OPERATION_NUMBER, type OperationName } from '../../../core/file-system/operation-names.ts'
import type { Operations } from '../../../core/file-system/operations.ts'
import { RequestMeter } from '../../../core/file-system/request-meter.ts'
import { OwnMount } from '../../mount-points/own-mount.ts'
import { type Fuse, dispose, loadFuseNative, type Signal } from './binding.ts'
import { type Answer, Callbacks } from './callbacks.ts'

/** Interval between two checks whether the mount still exists: libfuse's loop ends without a notification. */
const WATCH_INTERVAL_MS = 200
/** Maximum length of all options together in libfuse. */
const SOURCE_MAX_LENGTH = 600

/** The index of a callback's buffer among its parameters; the answer returns it. */
const BUFFER_AT: Readonly<Record<string, number>> = {
  read: 2,
  write: 2,
  getxattr: 2,
  setxattr: 2,
  listxattr: 1,
}

/** The callbacks that use the native structure, and those that do not need the path. */
const WITH_LOCALS = new Set(['readlink', 'utimens'])
const WITHOUT_PATH = new Set(['read', 'write'])

/** The implemented callbacks; libfuse answers the others itself. */
// prettier-ignore
const NAMES = [
  'getattr', 'fgetattr', 'statfs', 'readdir', 'readlink', 'open', 'create', 'read', 'write', 'release',
  'fsync', 'fsyncdir', 'truncate', 'ftruncate', 'chmod', 'chown', 'utimens', 'mknod', 'mkdir', 'symlink', 'link',
  'unlink', 'rmdir', 'rename', 'getxattr', 'setxattr', 'listxattr', 'removexattr',
] as const satisfies readonly (keyof Callbacks)[]

/** The operations that callbacks with other names are counted as. */
const METERED_AS: Readonly<Record<string, OperationName>> = {
  fgetattr: 'getattr',
  truncate: 'setattr',
  ftruncate: 'setattr',
  chmod: 'setattr',
  chown: 'setattr',
  utimens: 'setattr',
}

type Handler = (...parameters: readonly unknown[]) => Promise<Answer>

/** Serves `operations` through libfuse2. @throws MountError if libfuse2 is missing or does not mount. */
export async function mountFuseNative(operations: Operations, options: MountOptions): Promise<Driver> {
  if (isOdd(options.mountPoint))
    throw new MountError(`${options.mountPoint} is not UTF-8, and fuse-native takes no such mount point`, {
      code: 'driver-limit',
    })
  const Fuse = loadFuseNative()
  checkFuseDevice()
  const caller = { ...processOwner(), pid: 0 }
  const fuse = new Fuse(options.mountPoint, Object.fromEntries(NAMES.map(name => [name, true])), {
    timeout: false,
  })
  fuse._fuseOptions = () => `-o${libfuseOptions(options).join(',')}`
  connect(fuse, new Callbacks(operations, caller), options)

  // Before mounting: afterwards this process would have to answer.
  const mountPoint = realpathSync(options.mountPoint)
  const before = new Set(fuseDescriptors())
  await new Promise<void>((resolve, reject) => {
    fuse.mount(error => {
      if (error === null) resolve()
      else
        reject(
          new MountError(
            `libfuse2 does not mount ${options.mountPoint} (${error.message}; the log has what it said)`,
            { code: 'driver-missing', cause: error },
          ),
        )
    })
  })
  const descriptor = fuseDescriptors().find(fd => !before.has(fd))
  const done = (descriptor === undefined ? Promise.resolve() : closed(descriptor)).then(() => dispose(fuse))
  const mount = new OwnMount(mountPoint, done)
  return { done, canInvalidate: false, unmount: (lazy = false) => mount.unmount(lazy) }
}

/** Checked here because libfuse reports it only on standard error. */
function checkFuseDevice(): void {
  try {
    accessSync(FUSE_DEVICE, constants.R_OK | constants.W_OK)
  } catch (error) {
    throw deviceError(error)
  }
}

/** Options of libfuse for which fuse-native has no setting. */
function libfuseOptions(options: MountOptions): readonly string[] {
  const source = options.source.slice(0, SOURCE_MAX_LENGTH).replaceAll(/[\\,]/g, '\\$&')
  return [
    'big_writes',
    'default_permissions',
    'auto_cache',
    'use_ino',
    'subtype=zblkfs',
    `fsname=${source}`,
    options.suid === true ? 'suid' : 'nosuid',
    options.dev === true ? 'dev' : 'nodev',
    ...(options.noExec === true ? ['noexec'] : []),
    ...(options.noAtime === true ? ['noatime'] : []),
    ...(options.readOnly === true ? ['ro'] : []),
    ...(options.allowOther === true ? ['allow_other'] : []),
    ...(options.nonEmpty === true ? ['nonempty'] : []),
  ]
}

function connect(fuse: Fuse, callbacks: Callbacks, { log, meter = new RequestMeter() }: MountOptions): void {
  const unexpected = (error: unknown): void => log.error({ err: error }, 'an operation failed unexpectedly')
  let locals: Buffer = Buffer.alloc(0)
  fuse._handlers.forEach((handler, index) => {
    fuse._handlers[index] = (handlerLocals, ...rest) => {
      locals = handlerLocals
      return handler(handlerLocals, ...rest)
    }
  })
  for (const name of NAMES) {
    const handler: Handler = callbacks[name].bind(callbacks) as Handler
    const bufferAt = BUFFER_AT[name]
    const operation = OPERATION_NUMBER[METERED_AS[name] ?? (name as OperationName)]
    fuse[`_op_${name}`] = (signal: Signal, ...parameters: readonly unknown[]) => {
      const given = WITHOUT_PATH.has(name) ? parameters.slice(1) : parameters
      const buffer = bufferAt === undefined ? [] : [(parameters[bufferAt] as Buffer).buffer]
      const startMs = performance.now()
      handler(...(WITH_LOCALS.has(name) ? [locals, ...given] : given)).then(
        ({ result = 0, values = [] }) => {
          signal(result, ...values, ...buffer)
          meter.answered(operation, performance.now() - startMs, 0)
        },
        (error: unknown) => {
          const counts = WITHOUT_PATH.has(name) ? [0] : []
          const code = errnoOf(error, unexpected)
          signal(-code, ...counts, ...buffer)
          meter.answered(operation, performance.now() - startMs, code)
        },
      )
    }
  }
}

/** The descriptors of /dev/fuse that this process has open. */
function fuseDescriptors(): readonly string[] {
  return readdirSync('/proc/self/fd').filter(isFuseDescriptor)
}

function isFuseDescriptor(fd: string): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === FUSE_DEVICE
  } catch {
    return false
  }
}

/** Resolves when libfuse has closed its descriptor of /dev/fuse: the mount is gone in every namespace. */
async function closed(descriptor: string): Promise<void> {
  while (isFuseDescriptor(descriptor)) await sleep(WATCH_INTERVAL_MS)
}
