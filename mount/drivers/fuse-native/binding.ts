/**
 * The parts of the fuse-native package (2.2.6) that are used here, typed, and its loading.
 *
 * The package's public interface is a table of callbacks by path. This driver uses the level below: each `_op_NAME` of
 * an instance receives the parameters of libfuse's callback, 64-bit numbers as two halves, and answers by calling `signal` with a
 * negative errno (or a length) and the results that the native part stores. So sizes and offsets stay exact up to
 * 2^63, handles can be used, and faults of the package (getxattr into a buffer that is too small) are avoided.
 *
 * Below that is the structure of the native callback in C, which the package passes to JavaScript as a Buffer. Fields of it
 * are used for operations that the package cannot do without them:
 *
 * | field   | offset | why                                                                                    |
 * |---------|--------|----------------------------------------------------------------------------------------|
 * | `len`   | 72     | `readlink` copies this many bytes and does not set it: it is left from the last read   |
 * | `atime` | 104    | the first of the two times, to verify the offsets                                      |
 * | `mtime` | 112    | `utimens` passes atime twice                                                           |
 *
 * The structure is 360 bytes long on 64-bit Linux; if it is not, its fields are not used.
 * Source: fuse_thread_locals_t in fuse-native.c.
 */
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { MountError } from '../driver.ts'

/** Completes a callback: a negative errno, 0 or a length, then results. */
export type Signal = (result: number, ...results: readonly unknown[]) => void

/** One callback; its parameters follow the signal. */
export type Callback = (signal: Signal, ...parameters: never[]) => void

/** An instance of the package's class, with its private members. */
export interface Fuse {
  /** The state of the native part. */
  readonly _thread: Buffer
  readonly mnt: string
  readonly _handlers: ((locals: Buffer, ...rest: unknown[]) => unknown)[]
  _fuseOptions: () => string
  mount(done: (error: Error | null) => void): void
  [callback: `_op_${string}`]: Callback
}

type FuseClass = new (
  directory: string,
  operations: Readonly<Record<string, unknown>>,
  options: { readonly timeout: false },
) => Fuse

interface NativeHalf {
  /** Does not unmount; releases the event loop. */
  fuse_native_unmount(directory: string, thread: Buffer): void
}

const require = createRequire(import.meta.url)

/** Loads the package. @throws MountError if it or libfuse2 is missing. */
export function loadFuseNative(): FuseClass {
  try {
    return require('fuse-native') as FuseClass
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    if (message.includes('libfuse'))
      throw new MountError(`the fuse-native driver needs libfuse2, which cannot be loaded (${message})`, {
        code: 'libfuse-missing',
        cause: error,
      })
    throw new MountError(`the fuse-native package cannot be loaded (${message})`, {
      code: 'fuse-native-missing',
      cause: error,
    })
  }
}

/** Releases the event loop, which an instance keeps alive even when its mount is gone. */
export function dispose(fuse: Fuse): void {
  const main = require.resolve('fuse-native')
  const load = createRequire(main)('node-gyp-build') as (directory: string) => NativeHalf
  load(dirname(main)).fuse_native_unmount(fuse.mnt, fuse._thread)
}

const LOCALS_LENGTH = 360
const LEN_OFFSET = 72
const ATIME_OFFSET = 104
const MTIME_OFFSET = 112
/** Length of libfuse's buffer for readlink: PATH_MAX and a NUL. */
const LINK_LENGTH = 4097n

/** Whether the structure has the known layout. */
export const hasKnownLayout = (locals: Buffer): boolean =>
  process.platform === 'linux' && locals.length === LOCALS_LENGTH

/** Sets the length of the buffer for a symlink's target. */
export function setLinkLength(locals: Buffer): void {
  locals.writeBigUInt64LE(LINK_LENGTH, LEN_OFFSET)
}

/** The second of utimens' times in milliseconds, given the first one as the package passed it. */
export function modificationTimeMs(locals: Buffer, atimeMs: bigint): bigint {
  const trusted = hasKnownLayout(locals) && locals.readBigUInt64LE(ATIME_OFFSET) === atimeMs
  return trusted ? locals.readBigUInt64LE(MTIME_OFFSET) : atimeMs
}
