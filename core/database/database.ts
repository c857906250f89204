/** A database as a program uses it: its files, its history, and transactions. */
import { ReadOnlyError, StoreError } from '../../store/errors.ts'
import { formatTid, parseTid, type Tid } from '../../store/ids.ts'
import { momentToSend, resolveMoment } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'
import { name as toName, type Caller, type Name } from '../file-system/operations.ts'
import { MOMENT_PREFIX } from '../file-system/reserved-names.ts'
import type { HistoryOperations, ServedFileSystem } from '../file-system/served-file-system.ts'
import { differences } from '../history/difference.ts'
import { log } from '../history/log.ts'
import { MomentView } from '../history/moment-view.ts'
import { storedName, storedPath, textOfStored } from '../stored-names.ts'
import { asChange, asTransaction, type Change, type Transaction } from './changes.ts'
import { Files, type FilesParts } from './files.ts'
import { Isolation } from './isolation.ts'
import { changesOf, feed, type FeedTransaction, type WatchOptions } from './feed.ts'

export interface DatabaseParts {
  readonly fileSystem: ServedFileSystem
  /** Serves reads of the history; may differ from the filesystem's store. */
  readonly store: Store
  readonly caller: Caller
  /** Permission bits cleared from the mode of new files and directories. */
  readonly umask: number
  /** Closes the filesystem and the store. */
  readonly close: () => Promise<void>
}

/** A named moment. */
export interface TagInfo {
  readonly name: string
  /** 16 hex digits. */
  readonly tid: string
}

/** A transaction of {@link Database.watch}. */
export type TransactionChanges = FeedTransaction<Change>

export interface LogOptions {
  /** Only transactions after this moment. */
  readonly since?: string
  /** Only transactions up to this moment. */
  readonly until?: string
  readonly limit?: number
  /** Only transactions that changed this file, or something in this directory. */
  readonly path?: string
}

/**
 * A moment is written as on the command line: `now`, a tid (16 hex digits), a time (`2026-11-22T10:20`), an age (`2h`), or a tag.
 * Paths begin at the root of the tree. tids are 16 hex digits.
 *
 * Errors have a `code` and a `kind`, which says what to do (retry, refresh, give up, repair); those of file operations
 * are FileErrors.
 */
export class Database implements AsyncDisposable {
  /** The files at the present. */
  readonly files: Files
  readonly #parts: DatabaseParts
  readonly #isolation = new Isolation()
  #closing: Promise<void> | undefined

  constructor(parts: DatabaseParts) {
    this.#parts = parts
    this.files = this.#filesAt({ guard: this.#isolation.outside, base: () => Promise.resolve([]) })
  }

  /** The database's path. */
  get name(): string {
    return this.#parts.store.name
  }

  /** Whether the database is read-only. */
  get readOnly(): boolean {
    return this.#parts.fileSystem.history === undefined
  }

  /** The files at a moment, read-only. The moment is looked up once, by the first operation. */
  at(when: string): Files {
    let base: Promise<readonly Name[]> | undefined
    return this.#filesAt({
      guard: work => work(),
      base: () => (base ??= this.resolve(when).then(tid => [toName(`${MOMENT_PREFIX}${tid}`)])),
    })
  }

  /** The transaction that a moment refers to. @throws StoreError with the code `no-moment` or `bad-moment`. */
  async resolve(when: string): Promise<string> {
    return formatTid(await this.#moment(when))
  }

  /**
   * Runs `work` as one transaction: all changes made through `tx` are stored atomically when it resolves, and none of them if
   * it throws or the process dies. Other operations of this Database wait meanwhile. Resolves to the result of `work`.
   *
   * On a mounted database, changes that other programs make through the mount meanwhile are part of the transaction.
   * @throws what `work` throws; StoreError, with the code `transaction-open` if another transaction is open.
   */
  async transaction<T>(
    work: (tx: Files) => Promise<T>,
    { message, signal }: { readonly message?: string; readonly signal?: AbortSignal } = {},
  ): Promise<T> {
    const history = this.#history()
    return await this.#isolation.inside(async () => {
      signal?.throwIfAborted()
      await history.begin()
      let isOpen = true
      const guard: FilesParts['guard'] = async operation => {
        if (!isOpen) throw new StoreError('the transaction has ended', { code: 'no-transaction' })
        signal?.throwIfAborted()
        return await operation()
      }
      try {
        const result = await work(this.#filesAt({ guard, base: () => Promise.resolve([]) }))
        signal?.throwIfAborted()
        isOpen = false
        await history.commit(message)
        return result
      } catch (error) {
        if (isOpen) await history.rollBack()
        throw error
      } finally {
        isOpen = false
      }
    })
  }

  /** Makes everything up to now durable; resolves to the last transaction. `message` describes it. */
  async sync(message?: string): Promise<string> {
    return formatTid(await this.#isolation.outside(() => this.#parts.fileSystem.sync(message)))
  }

  /** The transactions, newest first. */
  async *log({ since, until, limit = Infinity, path = '' }: LogOptions = {}): AsyncGenerator<Transaction> {
    const { store } = this.#parts
    const upTo = until === undefined ? await store.lastTid() : await this.#moment(until)
    const after = since === undefined ? undefined : await this.#moment(since)
    const inner = storedPath(path)
    const inode = inner === '' ? undefined : await (await MomentView.open(store, upTo)).find(inner)
    if (inner !== '' && inode === undefined)
      throw new StoreError(`there is no ${path} at ${formatTid(upTo)}`, { code: 'no-path' })
    const range = { upTo, limit, ...(after !== undefined && { after }) }
    for await (const transaction of log(store, { ...range, ...(inode !== undefined && { of: inode.oid }) }))
      yield asTransaction(transaction)
  }

  /** The differences between two moments: names first, in no particular order. */
  async *diff(
    before: string,
    after: string,
    { path = '' }: { readonly path?: string } = {},
  ): AsyncGenerator<Change> {
    const { store } = this.#parts
    const [a, b] = [await this.#moment(before), await this.#moment(after)]
    for await (const difference of differences(store, a, b, { path: storedPath(path) }))
      yield asChange(difference)
  }

  /**
   * Each transaction after a moment, with its changes, without gaps: first the existing ones, then each new one from any
   * process. It ends when `signal` is aborted. With `path`, the changes are only those at it or below it.
   * @throws StoreError with the code `no-moment` if some transactions after `since` are no longer kept.
   */
  watch({
    path = '',
    ...options
  }: WatchOptions & { readonly path?: string } = {}): AsyncGenerator<TransactionChanges> {
    const { store } = this.#parts
    const inner = storedPath(path)
    async function* changes(tid: Tid): AsyncGenerator<Change> {
      for await (const difference of changesOf(store, tid, inner)) yield asChange(difference)
    }
    return feed({ store, moment: when => this.#moment(when), changesOf: changes }, options)
  }

  /** Names a moment, by default the present. @throws StoreError with the code `tag-exists`, unless `force`. */
  async tag(
    name: string,
    { at, force = false }: { readonly at?: string; readonly force?: boolean } = {},
  ): Promise<string> {
    const history = this.#history()
    const { tid } = await this.#isolation.outside(() => history.tag(storedName(name), sent(at), force))
    return formatTid(tid)
  }

  async untag(name: string): Promise<void> {
    const history = this.#history()
    await this.#isolation.outside(() => history.untag(storedName(name)))
  }

  /** The tags, by name. */
  async *tags(): AsyncGenerator<TagInfo> {
    const { store } = this.#parts
    const { superblock } = await MomentView.open(store, await store.lastTid())
    for await (const { name, tid } of superblock.allTags())
      yield { name: textOfStored(name), tid: formatTid(tid) }
  }

  /** Undoes a transaction with a new one. @throws StoreError with the code `undo-clash` if a later one changed the same data. */
  async undo(transaction: string): Promise<string> {
    const history = this.#history()
    const undone = parseTid(transaction)
    if (undone === undefined)
      throw new StoreError(`${transaction} is not a tid: it has 16 hex digits`, { code: 'bad-moment' })
    return formatTid(await this.#isolation.outside(() => history.undo(undone)))
  }

  /** Restores a path to its state at a moment, in place or as `to`. With `force` it replaces an existing file at `to`. */
  async restore(
    path: string,
    when: string,
    { to, force = false }: { readonly to?: string; readonly force?: boolean } = {},
  ): Promise<string> {
    const history = this.#history()
    const target = to === undefined ? undefined : storedPath(to)
    return formatTid(
      await this.#isolation.outside(() =>
        history.restore(
          storedPath(path),
          momentToSend(storedName(when)),
          target,
          target === undefined || force,
        ),
      ),
    )
  }

  /** Clones a file or directory as of `at`, by default the present. The clone is independent and shares all stored bytes. */
  async clone(source: string, target: string, { at }: { readonly at?: string } = {}): Promise<string> {
    const history = this.#history()
    return formatTid(
      await this.#isolation.outside(() => history.clone(storedPath(source), storedPath(target), sent(at))),
    )
  }

  /** Makes everything durable and closes the database. @throws StoreError; the database then stays open and close may be retried. */
  async close(): Promise<void> {
    this.#closing ??= this.#parts.close().catch((error: unknown) => {
      this.#closing = undefined
      throw error
    })
    await this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @throws ReadOnlyError */
  #history(): HistoryOperations {
    const { history } = this.#parts.fileSystem
    if (history === undefined) throw new ReadOnlyError(`${this.name} is opened read-only`)
    return history
  }

  async #moment(when: string): Promise<Tid> {
    const { store } = this.#parts
    return await resolveMoment(store, storedName(when), async name =>
      (await MomentView.open(store, await store.lastTid())).superblock.tag(name),
    )
  }

  #filesAt(parts: Pick<FilesParts, 'guard' | 'base'>): Files {
    const { fileSystem, caller, umask } = this.#parts
    return new Files({ operations: fileSystem, caller, umask, ...parts })
  }
}

/** A moment for the process that serves the database, whose time zone may be another. */
const sent = (when: string | undefined): string | undefined =>
  when === undefined ? undefined : momentToSend(storedName(when))
