/**
 * A ZODB FileStorage (`Data.fs`) as a read-only store. Another process may be writing the file.
 *
 * A read of the newest state first indexes the transactions that were completed since the last read. If a pack has
 * replaced the file, or the file has become shorter, it is reopened and indexed from scratch; a read in progress
 * continues on the old file.
 *
 * Memory does not grow with the file: positions are in an index on disk (position-index.ts), and data is read on
 * demand.
 */
import { absolutePath, statSync } from '../os-files.ts'
import { setImmediate } from 'node:timers/promises'
import { CannotOpenError, StoreError, messageOf } from '../errors.ts'
import { TID_MAX, TID_NONE, type Oid, type Tid } from '../ids.ts'
import { readSlicesInTurn } from '../read-slices.ts'
import type {
  ChangeSet,
  Revision,
  RevisionPart,
  ReadOnlyStore,
  SliceRead,
  TransactionInfo,
  TransactionRange,
} from '../store.ts'
import { pagedTransactions } from '../paged-transactions.ts'
import { Polling } from '../polling.ts'
import type { Capabilities } from '../capabilities.ts'
import type { Progress } from './extend-index.ts'
import { defaultCacheDirectory } from './index-cache.ts'
import { IndexedFile, type IndexedFileOptions } from './indexed-file.ts'

export interface FileStorageOptions {
  /** The directory of the index; {@link defaultCacheDirectory} if absent. */
  readonly cacheDirectory?: string
  /** Receives a warning about a torn tail, or a cache that cannot be written. */
  readonly warn?: (message: string) => void
  /** Receives the progress of the first scan. */
  readonly progress?: Progress
}

/** Oids looked up, or transactions listed, between two yields to the event loop. */
const LOAD_OIDS = 1024
const PAGE_TRANSACTIONS = 256

/**
 * Opens a FileStorage for reading; resolves when it is indexed, which is quick if a cached index exists.
 * @throws CannotOpenError if it is missing, not a FileStorage, damaged, or has oids beyond 2^53.
 */
export async function openFileStorage(
  path: string,
  options: FileStorageOptions = {},
): Promise<ReadOnlyStore> {
  const storage = new FileStorage(absolutePath(path), {
    cacheDirectory: options.cacheDirectory ?? defaultCacheDirectory(),
    warn: options.warn ?? (() => {}),
    progress: options.progress,
  })
  try {
    await storage.lastTid()
  } catch (error) {
    await storage.close()
    if (error instanceof CannotOpenError) throw error
    throw new CannotOpenError(`${path} cannot be read: ${messageOf(error)}`, { cause: error })
  }
  return storage
}

class FileStorage implements ReadOnlyStore {
  readonly name: string
  readonly readOnly = true
  readonly isForeign = true
  readonly capabilities: Capabilities = {
    watching: new Polling(() => this.lastTid()),
    foreignHistory: {
      keepsHistory: true,
      packedUpTo: () => this.#use(TID_MAX, async file => file.packedUpTo()),
    },
  }
  readonly #options: IndexedFileOptions
  #file: IndexedFile
  #refreshing: Promise<void> | undefined
  #closed = false

  constructor(path: string, options: IndexedFileOptions) {
    this.name = path
    this.#options = options
    this.#file = openFile(path, options)
  }

  async load(oids: readonly Oid[], at: Tid): Promise<readonly (Revision | undefined)[]> {
    return this.#use(at, async file => {
      // The file may grow between two parts of a long list: read all of them as of one moment.
      const upTo = at < file.lastTid ? at : file.lastTid
      const revisions: (Revision | undefined)[] = []
      for (let first = 0; first < oids.length; first += LOAD_OIDS) {
        if (first > 0) await setImmediate()
        for (const revision of await file.load(oids.slice(first, first + LOAD_OIDS), upTo))
          revisions.push(revision)
      }
      return revisions
    })
  }

  async loadPart(
    oid: Oid,
    at: Tid,
    off: number,
    len: number,
    into?: Uint8Array,
  ): Promise<RevisionPart | undefined> {
    return this.#use(at, file => file.loadPart(oid, at, off, len, into))
  }

  async readSlices(reads: readonly SliceRead[]): Promise<void> {
    await readSlicesInTurn(this, reads)
  }

  async revisions(
    oid: Oid,
    { after = TID_NONE, upTo = TID_MAX }: { readonly after?: Tid; readonly upTo?: Tid } = {},
  ): Promise<readonly Tid[]> {
    return this.#use(upTo, async file => file.revisions(oid, after, upTo))
  }

  async lastTid(): Promise<Tid> {
    return this.#use(TID_MAX, async file => file.lastTid)
  }

  async *transactions(range: TransactionRange = {}): AsyncGenerator<TransactionInfo, void, undefined> {
    yield* pagedTransactions(
      range,
      PAGE_TRANSACTIONS,
      (after, upTo, reverse, limit) =>
        this.#use(upTo, async file => file.transactions(after, upTo, reverse, limit)),
      () => setImmediate(),
    )
  }

  async *changes(after: Tid, upTo: Tid = TID_MAX): AsyncGenerator<ChangeSet, void, undefined> {
    const file = await this.#use(upTo, async file => file.acquire())
    try {
      for (const change of file.changes(after, upTo)) {
        if (this.#closed) throw this.#closedError()
        yield change
        await setImmediate()
      }
    } catch (error) {
      throw this.#asStoreError(error)
    } finally {
      file.release()
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#refreshing?.catch(() => {})
    this.#file.release()
  }

  /** Runs `work` on the file. If `at` is later than the last indexed transaction, new ones are indexed first. */
  async #use<T>(at: Tid, work: (file: IndexedFile) => Promise<T>): Promise<T> {
    try {
      if (this.#closed) throw this.#closedError()
      if (at > this.#file.lastTid) await this.#refresh()
      if (this.#closed) throw this.#closedError()
      const file = this.#file.acquire()
      try {
        return await work(file)
      } finally {
        file.release()
      }
    } catch (error) {
      throw this.#asStoreError(error)
    }
  }

  async #refresh(): Promise<void> {
    // A refresh in progress may have read the file before this call: wait for it, then check again.
    while (this.#refreshing !== undefined) await this.#refreshing.catch(() => {})
    const stats = statSync(this.name, { bigint: true, throwIfNoEntry: false })
    // While a pack renames its files, the path may not exist for a moment.
    if (stats === undefined || this.#file.isCurrent(stats)) return
    this.#refreshing = this.#file.is(stats) ? this.#file.extend() : this.#replace()
    try {
      await this.#refreshing
    } finally {
      this.#refreshing = undefined
    }
  }

  async #replace(): Promise<void> {
    const file = openFile(this.name, this.#options)
    try {
      await file.extend()
    } catch (error) {
      file.release()
      throw error
    }
    this.#file.release()
    this.#file = file
  }

  #closedError(): StoreError {
    return new StoreError(`${this.name} was closed`)
  }

  #asStoreError(error: unknown): StoreError {
    if (error instanceof StoreError) return error
    return new StoreError(`${this.name} cannot be read: ${messageOf(error)}`, { cause: error })
  }
}

function openFile(path: string, options: IndexedFileOptions): IndexedFile {
  try {
    return new IndexedFile(path, options)
  } catch (error) {
    if (error instanceof CannotOpenError) throw error
    throw new CannotOpenError(`${path} cannot be opened: ${messageOf(error)}`, { cause: error })
  }
}
