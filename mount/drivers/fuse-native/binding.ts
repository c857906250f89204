/**
 * What we use of the fuse-native package (2.2.6), typed, and how it is loaded.
 *
 * The package's public face is a table of callbacks by path. We go one level below: each `_op_NAME` of an instance
 * receives what libfuse's callback received, 64-bit numbers as two halves, and answers by calling `signal` with a
 * negative errno (or a length) and the results that the native half stores. So sizes and offsets stay exact up to
 * 2^63, handles can be used, and the package's own mistakes (getxattr into a buffer that is too small) are avoided.
 *
 * One more level down stands the structure of the native callback in C, which the package hands to JavaScript as a
 * Buffer. Two fields of it are used, because without them the package cannot do the operation at all:
 *
 * | field   | offset | why                                                                                    |
 * |---------|--------|----------------------------------------------------------------------------------------|
 * | `len`   | 72     | `readlink` copies by it and forgets to set it: it is whatever the last read left there |
 * | `atime` | 104    | the first of the two times, to check that the offsets are what we think                |
 * | `mtime` | 112    | `utimens` hands out atime twice                                                        |
 *
 * The structure is 360 bytes long on 64-bit Linux; where it is not, its fields are left alone.
 * Source: fuse_thread_locals_t in fuse-native.c.
 */
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { MountError } from '../driver.ts'

/** Answers a callback: a negative errno, 0 or a length, then results. */
export type Signal = (result: number, ...results: readonly unknown[]) => void

/** One callback, with what it received after the signal. */
export type Callback = (signal: Signal, ...parameters: never[]) => void

/** An instance of the package's class, with the parts that are underlined in its source. */
export interface Fuse {
  /** The native half's state. */
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
  /** Does not unmount; lets go of the event loop. */
  fuse_native_unmount(directory: string, thread: Buffer): void
}

const require = createRequire(import.meta.url)

/** Loads the package. @throws MountError where it or libfuse2 is missing. */
export function loadFuseNative(): FuseClass {
  try {
    return require('fuse-native') as FuseClass
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    if (message.includes('libfuse'))
      throw new MountError(
        `the fuse-native driver needs libfuse2, which cannot be loaded (${message}): ` +
          'install libfuse2 (apt-get install libfuse2, or libfuse2t64)',
        { code: 'driver-missing', cause: error },
      )
    throw new MountError(`the fuse-native package cannot be loaded (${message}): run npm install`, {
      code: 'driver-missing',
      cause: error,
    })
  }
}

/** Lets the process end: an instance keeps the event loop alive, also when its mount is gone. */
export function letGo(fuse: Fuse): void {
  const main = require.resolve('fuse-native')
  const load = createRequire(main)('node-gyp-build') as (directory: string) => NativeHalf
  load(dirname(main)).fuse_native_unmount(fuse.mnt, fuse._thread)
}

const LOCALS_LENGTH = 360
const LEN_OFFSET = 72
const ATIME_OFFSET = 104
const MTIME_OFFSET = 112
/** What libfuse gives readlink to fill: PATH_MAX and a NUL. */
const LINK_LENGTH = 4097n

/** Whether the fields below can be trusted. */
export const hasKnownLayout = (locals: Buffer): boolean =>
  process.platform === 'linux' && locals.length === LOCALS_LENGTH

/** Says how long the buffer for a symlink's target is. */
export function setLinkLength(locals: Buffer): void {
  locals.writeBigUInt64LE(LINK_LENGTH, LEN_OFFSET)
}

/** The second of utimens' times in milliseconds, given the first one as the package passed it. */
export function modificationTimeMs(locals: Buffer, atimeMs: bigint): bigint {
  const trusted = hasKnownLayout(locals) && locals.readBigUInt64LE(ATIME_OFFSET) === atimeMs
  return trusted ? locals.readBigUInt64LE(MTIME_OFFSET) : atimeMs
}
