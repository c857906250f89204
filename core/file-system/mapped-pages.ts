/**
 * Pages changed through shared mappings (mmap). The kernel writes them back only after a while (half a minute, for
 * example); until then neither a commit nor SEEK_DATA nor copy_file_range would see these bytes. Only a file
 * that is open for reading and writing can have such pages; a mapping keeps the file open.
 *
 * While there is such a file, the kernel is asked to write its dirty pages back (`writeBackPages`: syncfs(2) by another
 * process) before each commit that a timer or a caller asks for, before a seek or copy in a file that may be mapped, before stat(2) of one with holes, and
 * once per commit interval, so that changes made only through mappings are stored as well.
 */
import type { Node } from './inodes/tree.ts'
import type { Handle } from './inodes/handles.ts'

/** The same user does not have the pages collected again within this time: a copy of a sparse file seeks once per extent. */
const FRESH_MS = 100

export interface MappedPagesOptions {
  /** Resolves when the kernel has sent every dirty page of the mount; absent if the filesystem is not mounted. */
  readonly writeBackPages: (() => Promise<void>) | undefined
  readonly intervalMs: number
}

export class MappedPages {
  readonly #options: MappedPagesOptions
  /** Open handles that may have mappings. */
  #handles = 0
  #collecting: Promise<void> | undefined
  #collectedAtMs = -Infinity
  #collectedFor: Handle | 'stat' | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: MappedPagesOptions) {
    this.#options = options
  }

  /** Call when a handle for reading and writing is opened. */
  opened(node: Node): void {
    node.mappableHandles++
    this.#handles++
    if (this.#options.writeBackPages === undefined) return
    this.#timer ??= setInterval(() => void this.collect(), this.#options.intervalMs).unref()
  }

  /** Call when such a handle is closed. */
  closed(node: Node): void {
    node.mappableHandles--
    if (--this.#handles === 0) this.stop()
  }

  /**
   * Has the kernel write back all changed pages; never rejects. Undefined if there can be none. Calls that arrive during a
   * round get the next one, as the current one may have passed pages that have changed since.
   */
  collect(): Promise<void> | undefined {
    const { writeBackPages } = this.#options
    if (this.#handles === 0 || writeBackPages === undefined) return undefined
    const round = async (): Promise<void> => {
      const startMs = performance.now()
      await writeBackPages().catch(() => undefined)
      this.#collectedAtMs = startMs
    }
    const collecting = this.#collecting === undefined ? round() : this.#collecting.then(round)
    this.#collecting = collecting
    return collecting.finally(() => {
      if (this.#collecting === collecting) this.#collecting = undefined
    })
  }

  /**
   * As {@link MappedPages.collect}, for one file. Accepts a recent round for the same user: an open file, or stat(2). After another's
   * round pages may have changed that this user knows of.
   */
  collectFor(node: Node, user: Handle | 'stat'): Promise<void> | undefined {
    const isFresh = user === this.#collectedFor && performance.now() - this.#collectedAtMs < FRESH_MS
    if (node.mappableHandles === 0 || isFresh) return undefined
    this.#collectedFor = user
    return this.collect()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
