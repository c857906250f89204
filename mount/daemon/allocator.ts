/**
 * Returns the daemon's freed memory to the system.
 *
 * Buffers of file data are allocated and freed by the gigabyte. glibc's malloc then raises its own limits: blocks up to
 * 32 MiB come from heaps that shrink only at their ends, one heap for each of several threads, and a process that uses
 * 100 MiB stays at 1 GiB. With fixed limits every large block is a separate mapping, unmapped when it is freed. Other C
 * libraries, without mallopt(3), are left alone.
 */
import koffi from 'koffi'

/** mallopt(3)'s parameters. Source: malloc.h. */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3
const M_ARENA_MAX = -8

const LARGE_BYTES = 128 << 10
const ARENAS = 1

/** Fixes malloc's limits for this process. Call before it has threads or data. */
export function returnFreedMemory(): void {
  let mallopt: (parameter: number, value: number) => number
  try {
    mallopt = koffi.load('libc.so.6').func('int mallopt(int parameter, int value)') as typeof mallopt
  } catch {
    return
  }
  mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
  mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
  mallopt(M_ARENA_MAX, ARENAS)
}
