/**
 * Direct writes, after which the kernel must drop its pages of the range: after an asynchronous one it does not do that by itself.
 *
 * One notification of a file runs at a time. Writes that end meanwhile share the next one, which covers them all and what lies in between,
 * so that eight writes at a time take two notifications instead of eight. Pages in between are lost only to a file that has some: once a
 * request shows that the kernel caches a file, each write gets a notification of its own range.
 */
import type { Ino } from '../../../core/file-system/operations.ts'
import type { KernelNotifier } from './kernel-notifier.ts'

/** Files that are remembered; then all are forgotten, and found again. */
const FILES_MAX = 64

interface WrittenFile {
  /** Whether the kernel has cached pages of it since. */
  isCached: boolean
  /** The last shared notification, and the one that waits for it. */
  running: Promise<void>
  next: { lo: bigint; hi: bigint; readonly sent: Promise<void> } | undefined
}

export class DirectWrites {
  readonly #notifier: Pick<KernelNotifier, 'invalidatePages'>
  readonly #files = new Map<Ino, WrittenFile>()

  constructor(notifier: Pick<KernelNotifier, 'invalidatePages'>) {
    this.#notifier = notifier
  }

  /** Resolves when the kernel has dropped its pages of a range, as {@link KernelNotifier.invalidatePages} does. */
  async written(ino: Ino, off: bigint, len: bigint): Promise<void> {
    const file = this.#fileOf(ino)
    if (file.isCached) return await this.#notifier.invalidatePages(ino, off, len)
    const { next } = file
    if (next === undefined) return await this.#begin(ino, file, off, off + len)
    if (off < next.lo) next.lo = off
    if (off + len > next.hi) next.hi = off + len
    await next.sent
  }

  /** To be called for each request by which the kernel caches pages of a file. */
  cached(ino: Ino): void {
    if (this.#files.size === 0) return
    const file = this.#files.get(ino)
    if (file !== undefined) file.isCached = true
  }

  #begin(ino: Ino, file: WrittenFile, lo: bigint, hi: bigint): Promise<void> {
    const sent = file.running.then(() => {
      const { next } = file
      file.next = undefined
      return next && this.#notifier.invalidatePages(ino, next.lo, next.hi - next.lo)
    })
    file.next = { lo, hi, sent }
    file.running = sent
    return sent
  }

  #fileOf(ino: Ino): WrittenFile {
    const known = this.#files.get(ino)
    if (known !== undefined) return known
    if (this.#files.size >= FILES_MAX) this.#files.clear()
    const file = { isCached: false, running: Promise.resolve(), next: undefined }
    this.#files.set(ino, file)
    return file
  }
}
