/**
 * System calls without a function in Node, through koffi. Each returns the C function's result; after -1, {@link errno}
 * has the reason. Memory is passed by address: `addressOf` a buffer is valid while the buffer lives, so code that
 * keeps an address must keep the buffer.
 */
import { callElsewhere, koffi, type Outcome } from '../../../store/koffi.ts'
import { bytesOf, isOdd } from '../../../store/os-text.ts'

const libc = koffi.load('libc.so.6')

/** The error of the last call, or of the asynchronous call whose callback is running. */
export const errno = (): number => koffi.errno()

/** The address of a buffer's bytes. */
export const addressOf = (buffer: ArrayBufferView): bigint => koffi.address(buffer)

export const read = libc.func('long read(int fd, void *buffer, size_t length)') as (
  fd: number,
  buffer: bigint,
  length: number,
) => number

const writevFunction = libc.func('long writev(int fd, void *vectors, int count)')

/** `vectors` holds `count` pairs of an address and a length, 8 bytes each. */
export const writev = writevFunction as (fd: number, vectors: bigint, count: number) => number

/** {@link writev} in another thread. The caller keeps the memory that `vectors` points to until it has ended. */
export const writevElsewhere = (fd: number, vectors: bigint, count: number): Promise<Outcome> =>
  callElsewhere(writevFunction, fd, vectors, count)

const mountFunction = libc.func(
  'int mount(str source, str target, str type, unsigned long flags, str options)',
) as (source: CString, target: CString, type: string, flags: number, options: string) => number

/** mount(2), for texts (store/os-text.ts). */
export const mount = (source: string, target: string, type: string, flags: number, options: string): number =>
  mountFunction(cString(source), cString(target), type, flags, options)

/** koffi encodes texts as UTF-8, and passes the memory of bytes. */
type CString = string | Buffer

const cString = (text: string): CString => (isOdd(text) ? Buffer.concat([bytesOf(text), Buffer.of(0)]) : text)

const umount2Function = libc.func('int umount2(str target, int flags)')

/** umount2(2)'s flags. Source: sys/mount.h. */
export const UnmountFlag = { FORCE: 1, DETACH: 2, NOFOLLOW: 8 } as const

/** umount2(2) in another thread: meanwhile this thread may have to answer requests. */
export const umount2 = (target: string, flags: number): Promise<Outcome> =>
  callElsewhere(umount2Function, cString(target), flags)

/** `pair` receives two descriptors. */
export const socketpair = libc.func(
  'int socketpair(int domain, int type, int protocol, _Out_ int *pair)',
) as (domain: number, type: number, protocol: number, pair: Int32Array) => number

/** `message` is a struct msghdr. */
export const recvmsg = libc.func('long recvmsg(int fd, void *message, int flags)') as (
  fd: number,
  message: ArrayBufferView,
  flags: number,
) => number

export const fcntl = libc.func('int fcntl(int fd, int command, long argument)') as (
  fd: number,
  command: number,
  argument: number,
) => number

/** Calls `listener` from the event loop whenever `fd` is readable or has failed; the returned function ends that. */
export function watch(fd: number, listener: () => void): () => void {
  const handle = koffi.node.poll(fd, listener)
  return () => handle.close()
}
