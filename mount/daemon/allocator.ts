/**
 * How the daemon's memory goes back to the system.
 *
 * Buffers of file data come and go by the gigabyte. glibc's malloc raises its own limits when it sees that: blocks up to
 * 32 MiB then come from heaps that are only given back at their ends, one heap for each of several threads, and a process
 * that holds 100 MiB stays at 1 GiB. With the limits fixed, every large block is a mapping of its own, gone when it is
 * freed. Other C libraries, which have no mallopt(3), do without.
 */
import koffi from 'koffi'

/** mallopt(3)'s parameters. Source: malloc.h. */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3
const M_ARENA_MAX = -8

const LARGE_BYTES = 128 << 10
const ARENAS = 1

/** Fixes malloc's limits for this process. To be called before it has threads or data. */
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
