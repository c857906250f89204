/**
 * Returns the daemon's freed memory to the system.
 *
 * Buffers of file data are allocated and freed by the gigabyte. glibc's malloc then raises its own limits: blocks up to
 * 32 MiB come from heaps that shrink only at their ends, one heap for each of several threads, and a process that uses
 * 100 MiB stays at 1 GiB. With fixed limits every large block is a separate mapping, unmapped when it is freed. Other C
 * libraries, without mallopt(3), are left alone.
 *
 * Small blocks are between others that stay, and V8 keeps a heap as large as a burst of requests has made it. So free pages are
 * given back periodically while the daemon works, and free slabs and garbage once when it has become idle.
 */
import koffi from 'koffi'
import { collectAll } from '../../store/gc-pacing.ts'
import { slabs } from '../../store/slabs.ts'

/** mallopt(3)'s parameters. Source: malloc.h. */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3
const M_ARENA_MAX = -8

const LARGE_BYTES = 128 << 10
const ARENAS = 1

const TRIM_INTERVAL_MS = 5000
/** Fraction of the interval's processor time from which the daemon counts as working, and below which it is idle. */
const WORKING = 0.05
const IDLE = 0.01

/** Fixes malloc's limits for this process, and trims its heap from then on. Call before it has threads or data. */
export function returnFreedMemory(): void {
  let mallopt: (parameter: number, value: number) => number
  let mallocTrim: (pad: number) => number
  try {
    const libc = koffi.load('libc.so.6')
    mallopt = libc.func('int mallopt(int parameter, int value)') as typeof mallopt
    mallocTrim = libc.func('int malloc_trim(size_t pad)') as typeof mallocTrim
  } catch {
    return
  }
  mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
  mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
  mallopt(M_ARENA_MAX, ARENAS)
  trimPeriodically(() => void mallocTrim(0))
}

function trimPeriodically(trim: () => void): void {
  let before = process.cpuUsage()
  let hasGarbage = false
  setInterval(() => {
    const { user, system } = process.cpuUsage(before)
    before = process.cpuUsage()
    const load = (user + system) / 1000 / TRIM_INTERVAL_MS
    if (load < IDLE && hasGarbage) {
      slabs.dropFree()
      collectAll()
      hasGarbage = false
    } else if (load < WORKING) return
    else hasGarbage = true
    trim()
  }, TRIM_INTERVAL_MS).unref()
}
