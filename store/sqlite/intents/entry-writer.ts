/**
 * Writes to the file of the intent log. A direct write spares the copy into the kernel's pages and their write-back. The thread waits for
 * a fast disk itself: that takes less time than two thread switches.
 */
import { closeSync, constants, write, writeSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { openSync } from '../../os-files.ts'
import { isInvalidArgument } from '../../segment-files/file-ranges.ts'

/** If the last short entry took less than this, the next one is written synchronously. */
const QUICK_MS = 1
/** Maximum length of a short entry. */
const QUICK_BYTES = 64 << 10

export class EntryWriter {
  readonly #file: FileHandle
  /** The same file, for direct writes; undefined if the filesystem does not support them. */
  #direct: number | undefined
  /** Duration of the last write of a short entry. */
  #tookMs = Infinity

  /** @param file opened for synchronous writes; closed with this writer. */
  constructor(file: FileHandle) {
    this.#file = file
    this.#direct = openDirect(file.fd)
  }

  get fd(): number {
    return this.#file.fd
  }

  /** @param pages whole ones, in page-aligned memory. @param position a page's. @throws the errors of write(2); also if only a part is written. */
  async write(pages: Buffer, position: number): Promise<void> {
    const written = await this.#write(this.#direct ?? this.fd, pages, position).catch((error: unknown) => {
      if (this.#direct === undefined || !isInvalidArgument(error)) throw error
      this.#closeDirect()
      return this.#write(this.fd, pages, position)
    })
    if (written < pages.length) throw new Error('the disk accepted only part of it')
  }

  async close(): Promise<void> {
    this.#closeDirect()
    await this.#file.close()
  }

  async #write(fd: number, pages: Buffer, position: number): Promise<number> {
    if (pages.length > QUICK_BYTES) return await writeInPool(fd, pages, position)
    const startMs = performance.now()
    const written =
      this.#tookMs < QUICK_MS
        ? writeSync(fd, pages, 0, pages.length, position)
        : await writeInPool(fd, pages, position)
    this.#tookMs = performance.now() - startMs
    return written
  }

  #closeDirect(): void {
    if (this.#direct !== undefined) closeSync(this.#direct)
    this.#direct = undefined
  }
}

function openDirect(fd: number): number | undefined {
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_RDWR | constants.O_DSYNC | constants.O_DIRECT)
  } catch {
    return undefined
  }
}

const writeInPool = (fd: number, bytes: Buffer, position: number): Promise<number> =>
  new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, position, (error, written) => {
      if (error === null) resolve(written)
      else reject(error)
    })
  })
