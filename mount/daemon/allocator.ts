/**
 * Returns the daemon's freed memory to the system.
 *
 * Buffers of file data are allocated and freed by the gigabyte. glibc's malloc then raises its own limits: blocks up to
 * 32 MiB come from heaps that shrink only at their ends, one heap for each of several threads, and a process that uses
 * 100 MiB stays at 1 GiB. With fixed limits every large block is a separate mapping, unmapped when it is freed. Other C
 * libraries, without mallopt(3), are left alone.
 *
 * Small blocks are between others that stay, and V8 keeps a heap as large as a burst of requests has made it: later requests may allocate
 * outside of it alone. So free pages are given back periodically while the daemon works, and garbage is collected if the heap has grown;
 * free slabs and the free pages of V8's heap are given back once when the daemon has become idle, and when its memory is large.
 *
 * Of the program itself, half of the pages in memory are those that only its start needed. They are given up as well; the
 * kernel maps those in use again from its page cache.
 */
import { getHeapStatistics } from 'node:v8'
import { koffi } from '../../store/koffi.ts'
import { readFileSync } from '../../store/os-files.ts'
import { collectAll, shrinkHeap } from '../../store/gc-pacing.ts'
import { slabs } from '../../store/slabs.ts'

/** mallopt(3)'s parameters. Source: malloc.h. */
const M_TRIM_THRESHOLD = -1
const M_MMAP_THRESHOLD = -3
const M_ARENA_MAX = -8

/** madvise(2)'s advice. Source: mman-common.h. */
const MADV_DONTNEED = 4

const LARGE_BYTES = 128 << 10
const ARENAS = 1

/** Resident memory from which all of this is done while the daemon works, again each time that the memory has grown by `PRESSURE_STEP_BYTES`. */
const PRESSURE_BYTES = 160 << 20
const PRESSURE_STEP_BYTES = 8 << 20
const PRESSURE_INTERVAL_MS = 250
/** Maximum part of the time that this takes: with a large cache, whose memory stays, a collection takes long and frees little. */
const PRESSURE_TIME = 0.1

const TRIM_INTERVAL_MS = 5000
/**
 * Growth of the heap, since the last collection, at which garbage is collected while the daemon works. A collection takes a fraction of a
 * millisecond per MiB.
 */
const GROWTH_BYTES = 16 << 20
const GROWTH = 1.4
/** Fraction of the interval's processor time from which the daemon counts as working, and below which it is idle. */
const WORKING = 0.05
const IDLE = 0.01

/** Fixes malloc's limits for this process, and trims its heap from then on. Call before it has threads or data. */
export function returnFreedMemory(): void {
  let mallopt: (parameter: number, value: number) => number
  let mallocTrim: (pad: number) => number
  let madvise: Madvise
  try {
    const libc = koffi.load('libc.so.6')
    mallopt = libc.func('int mallopt(int parameter, int value)') as typeof mallopt
    mallocTrim = libc.func('int malloc_trim(size_t pad)') as typeof mallocTrim
    madvise = libc.func('int madvise(uintptr_t start, size_t length, int advice)') as Madvise
  } catch {
    return
  }
  mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
  mallopt(M_TRIM_THRESHOLD, LARGE_BYTES)
  mallopt(M_ARENA_MAX, ARENAS)
  const trim = () => void mallocTrim(0)
  const dropPages = (): void => {
    dropProgramPages(madvise)
  }
  trimPeriodically(trim, dropPages)
  trimUnderPressure(trim, dropPages)
}

type Madvise = (start: bigint, length: number, advice: number) => number

/** Gives up the pages of the program's file, where no page of a mapping was changed: those can be read again. */
function dropProgramPages(madvise: Madvise): void {
  for (const [start, end] of unchangedMappings(readFileSync('/proc/self/smaps', 'utf8'), process.execPath))
    madvise(start, Number(end - start), MADV_DONTNEED)
}

/** The mappings of a file, in smaps(5), that cannot be written and have no page that differs from the file. */
export function unchangedMappings(
  smaps: string,
  path: string,
): readonly (readonly [start: bigint, end: bigint])[] {
  const found: (readonly [bigint, bigint])[] = []
  let mapping: readonly [bigint, bigint] | undefined
  for (const line of smaps.split('\n')) {
    const header = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ \d+ *(.*)$/.exec(line)
    if (header !== null) {
      const [, start = '', end = '', access = '', file = ''] = header
      const isProgram = file === path && access.endsWith('p') && !access.includes('w')
      mapping = isProgram ? [BigInt(`0x${start}`), BigInt(`0x${end}`)] : undefined
    } else if (mapping !== undefined && /^Anonymous: +0 kB$/.test(line)) found.push(mapping)
  }
  return found
}

const heapBytes = (): number => getHeapStatistics().used_heap_size

function trimUnderPressure(trim: () => void, dropPages: () => void): void {
  const check = pressureCheck(
    () => process.memoryUsage.rss(),
    () => {
      slabs.dropFree()
      collectAll()
      dropPages()
      trim()
    },
  )
  setInterval(check, PRESSURE_INTERVAL_MS).unref()
}

/**
 * A function that relieves when there is much memory, and again only when there is more than was left since, and when {@link PRESSURE_TIME}
 * allows it.
 */
export function pressureCheck(
  residentBytes: () => number,
  relieve: () => void,
  nowMs: () => number = () => performance.now(),
): () => void {
  let nextBytes = PRESSURE_BYTES
  let nextMs = -Infinity
  return () => {
    const bytes = residentBytes()
    // It may have shrunk by itself: what comes then is garbage again.
    nextBytes = Math.max(PRESSURE_BYTES, Math.min(nextBytes, bytes + PRESSURE_STEP_BYTES))
    const beginMs = nowMs()
    if (bytes < nextBytes || beginMs < nextMs) return
    relieve()
    const endMs = nowMs()
    nextMs = beginMs + (endMs - beginMs) / PRESSURE_TIME
    nextBytes = Math.max(PRESSURE_BYTES, residentBytes() + PRESSURE_STEP_BYTES)
  }
}

function trimPeriodically(trim: () => void, dropPages: () => void): void {
  let before = process.cpuUsage()
  let hasGarbage = false
  let isStarted = false
  let collectedBytes = heapBytes()
  setInterval(() => {
    const { user, system } = process.cpuUsage(before)
    before = process.cpuUsage()
    if (!isStarted) dropPages()
    isStarted = true
    const load = (user + system) / 1000 / TRIM_INTERVAL_MS
    if (load < IDLE && hasGarbage) {
      slabs.dropFree()
      shrinkHeap()
      dropPages()
      hasGarbage = false
    } else if (load < WORKING) return
    else {
      hasGarbage = true
      // V8 collects garbage as well, after which the heap is smaller.
      const usedBytes = heapBytes()
      collectedBytes = Math.min(collectedBytes, usedBytes)
      if (usedBytes > GROWTH * collectedBytes + GROWTH_BYTES) {
        collectAll()
        collectedBytes = heapBytes()
      }
    }
    trim()
  }, TRIM_INTERVAL_MS).unref()
}
