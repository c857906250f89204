/**
 * Pages changed through shared mappings (mmap). The kernel writes them back only after a while (half a minute, for
 * example); until then neither a commit nor SEEK_DATA nor copy_file_range would see these bytes. Only a file
 * that is open for reading and writing can have such pages; a mapping keeps the file open.
 *
 * While there is such a file, the kernel is asked to write its dirty pages back (`writeBackPages`: syncfs(2) by another
 * process) before each commit that a timer or a caller requests, before a seek to data or a copy in a file that may be mapped, before stat(2) of one with holes, and
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
  /** The running round; resolves to when it began. */
  #running: Promise<number> | undefined
  /** The round after it, if it was requested. */
  #next: Promise<number> | undefined
  /** For whom pages were collected last, by a round that began at that time. */
  #collected: { readonly user: Handle | 'stat'; readonly atMs: number } | undefined
  #timer: NodeJS.Timeout | undefined
  #suspensions = 0

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
   * round share the next one, as the current one may have passed pages that have changed since.
   */
  collect(): Promise<void> | undefined {
    if (this.#handles === 0 || this.#suspensions > 0) return undefined
    const { writeBackPages } = this.#options
    return writeBackPages === undefined ? undefined : this.#round(writeBackPages).then(() => undefined)
  }

  #round(writeBackPages: () => Promise<void>): Promise<number> {
    if (this.#next !== undefined) return this.#next
    const begin = async (): Promise<number> => {
      const startMs = performance.now()
      await writeBackPages().catch(() => undefined)
      return startMs
    }
    if (this.#running !== undefined)
      return (this.#next = this.#running.then(() => {
        this.#next = undefined
        return this.#round(writeBackPages)
      }))
    const running = begin().finally(() => (this.#running = undefined))
    this.#running = running
    return running
  }

  /**
   * As {@link MappedPages.collect}, for one file. Accepts a recent round for the same user: an open file, or stat(2). After another's
   * round pages may have changed that this user knows of.
   */
  collectFor(node: Node, user: Handle | 'stat'): Promise<void> | undefined {
    const isFresh = this.#collected?.user === user && performance.now() - this.#collected.atMs < FRESH_MS
    const { writeBackPages } = this.#options
    if (node.mappableHandles === 0 || isFresh || writeBackPages === undefined || this.#suspensions > 0)
      return undefined
    return this.#round(writeBackPages).then(atMs => {
      this.#collected = { user, atMs }
    })
  }

  /** Until {@link MappedPages.resume} nothing is collected: the caller cannot wait for the kernel. */
  suspend(): void {
    this.#suspensions++
  }

  resume(): void {
    this.#suspensions--
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
