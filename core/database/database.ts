/** A database as a program uses it: its files, its history, and transactions. */
import { branchNames, branchOfTag } from '../../store/branches.ts'
import type { KeySource } from '../../store/encryption.ts'
import { ReadOnlyError, StoreError } from '../../store/errors.ts'
import { formatTid, parseTid, type Tid } from '../../store/ids.ts'
import { momentToSend } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'
import { name as toName, type Caller, type Name } from '../file-system/operations.ts'
import { MOMENT_PREFIX } from '../file-system/reserved-names.ts'
import type { HistoryOperations, ServedFileSystem } from '../file-system/served-file-system.ts'
import { storedName, storedPath } from '../stored-names.ts'
import type { DifferenceOptions } from '../history/difference.ts'
import { restoreSteps, type RestoreStep } from '../history/restore-plan.ts'
import { asChange, type Change, type Transaction } from './changes.ts'
import {
  DatabaseHistory,
  type BranchOrigin,
  type LogOptions,
  type TagInfo,
  type TransactionChanges,
} from './history.ts'
import { Files, type FilesParts } from './files.ts'
import { Isolation } from './isolation.ts'
import type { WatchOptions } from './feed.ts'
import type { BackedUp, BackupOptions, SendOptions } from './stream-options.ts'
import { backup, send, sizeToSend } from './streams.ts'
import type { StreamSize } from '../stream/send.ts'

export interface DatabaseParts {
  readonly fileSystem: ServedFileSystem
  /** Serves reads of the history; may differ from the filesystem's store. */
  readonly store: Store
  readonly caller: Caller
  /** Permission bits cleared from the mode of new files and directories. */
  readonly umask: number
  /** Where the key comes from when the database or a branch of it is opened once more. */
  readonly key?: KeySource | undefined
  /** Closes the filesystem and the store. */
  readonly close: () => Promise<void>
}

export interface TagOptions {
  readonly at?: string
  /** Moves an existing tag. */
  readonly force?: boolean
  /** True: from now on the tag can be neither moved nor deleted; false: it can again. */
  readonly hold?: boolean
}

export interface RestoreOptions {
  /** Makes a copy at this path instead. */
  readonly to?: string
  /** Replaces an existing file at `to`. */
  readonly force?: boolean
  /** Removes what was not there at the moment. */
  readonly delete?: boolean
}

/** A step of a restore. */
export interface RestoreChange {
  readonly kind: RestoreStep['kind']
  readonly change: Change
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
  readonly #past: DatabaseHistory
  readonly #isolation = new Isolation()
  #closing: Promise<void> | undefined

  constructor(parts: DatabaseParts) {
    this.#parts = parts
    this.#past = new DatabaseHistory(parts.store)
    this.files = this.#filesAt({ guard: this.#isolation.outside, base: () => Promise.resolve([]) })
  }

  /** The database's path. */
  get name(): string {
    return this.#parts.store.name
  }

  /** Where the key of an encrypted database comes from, if the caller named a source. */
  get key(): KeySource | undefined {
    return this.#parts.key
  }

  /** Whether the database is read-only. */
  get readOnly(): boolean {
    return this.#parts.fileSystem.history === undefined
  }

  /** Of which database it is a branch, and at which transaction it begins; undefined for other databases. */
  get branch(): BranchOrigin | undefined {
    return this.#past.branch
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
    return formatTid(await this.#past.moment(when))
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

  /** The transactions, newest first, with what each changed. @throws StoreError with the code `no-path` */
  log(options: LogOptions = {}): AsyncGenerator<Transaction> {
    return this.#past.log(options)
  }

  /** The differences between two moments: names first, in no particular order. */
  diff(before: string, after: string, options: DifferenceOptions = {}): AsyncGenerator<Change> {
    return this.#past.diff(before, after, options)
  }

  /**
   * The differences of text files between two moments line by line, as `git diff` prints them: lines without newlines. Other
   * files that differ are named.
   */
  patch(before: string, after: string, options: DifferenceOptions = {}): AsyncGenerator<Buffer> {
    return this.#past.patch(before, after, options)
  }

  /**
   * Each transaction after a moment, with its changes, without gaps: first the existing ones, then each new one from any
   * process. It ends when `signal` is aborted. With `path`, the changes are only those at it or below it.
   * @throws StoreError with the code `no-moment` if some transactions after `since` are no longer kept.
   */
  watch(options: WatchOptions & { readonly path?: string } = {}): AsyncGenerator<TransactionChanges> {
    return this.#past.watch(options)
  }

  /**
   * Names a moment, by default the present. With `hold` an existing tag keeps its moment, unless `at` says otherwise.
   * @throws StoreError with the code `tag-exists`, unless `force`; `tag-held` if the tag to be moved is held; `branch-tag` if
   *   the tag to be released keeps the beginning of a branch.
   */
  async tag(name: string, { at, force = false, hold }: TagOptions = {}): Promise<string> {
    const history = this.#history()
    if (hold === false) await assertKeepsNoBranch(this.name, name)
    const { tid } = await this.#isolation.outside(() =>
      history.tag(storedName(name), sent(at), force, this.#parts.caller, hold),
    )
    return formatTid(tid)
  }

  /** Deletes a tag. @throws StoreError with the code `no-tag`, `tag-held`, or `branch-tag`. */
  async untag(name: string): Promise<void> {
    const history = this.#history()
    await assertKeepsNoBranch(this.name, name)
    await this.#isolation.outside(() => history.untag(storedName(name), this.#parts.caller))
  }

  /** The tags, by name. */
  tags(): AsyncGenerator<TagInfo> {
    return this.#past.tags()
  }

  /**
   * Undoes a transaction with a new one, or all transactions up to `upTo`.
   * @throws StoreError with the code `undo-clash` if a later one changed the same data.
   */
  async undo(transaction: string, { upTo = transaction }: { readonly upTo?: string } = {}): Promise<string> {
    const history = this.#history()
    const [first, last] = [transactionOf(transaction), transactionOf(upTo)]
    return formatTid(await this.#isolation.outside(() => history.undo(first, last, this.#parts.caller)))
  }

  /**
   * Restores files and directories to their state at a moment, in one transaction; '/' is the whole tree. What was not there at that
   * moment stays, unless `delete` is set. With `to` it makes a copy there, which replaces an existing file if `force` is set.
   */
  async restore(
    path: string | readonly string[],
    when: string,
    { to, force = false, delete: deletes = false }: RestoreOptions = {},
  ): Promise<string> {
    const history = this.#history()
    const { caller } = this.#parts
    const paths = (typeof path === 'string' ? [path] : path).map(storedPath)
    const at = momentToSend(storedName(when))
    const [first, ...others] = paths
    if (first === undefined || (to !== undefined && others.length > 0))
      throw new StoreError('restore takes one path, or several without `to`', { code: 'usage' })
    return formatTid(
      await this.#isolation.outside(() =>
        to === undefined
          ? history.restore(paths, at, deletes, caller)
          : history.restoreAs(first, at, storedPath(to), force, caller),
      ),
    )
  }

  /** What {@link Database.restore} would change, in stored order; changes that are not stored yet are stored first. */
  async *restorePlan(
    path: string | readonly string[],
    when: string,
    { delete: deletes = false }: Pick<RestoreOptions, 'delete'> = {},
  ): AsyncGenerator<RestoreChange> {
    if (!this.readOnly) await this.sync()
    const { store } = this.#parts
    const paths = (typeof path === 'string' ? [path] : path).map(storedPath)
    const range = { now: await store.lastTid(), at: await this.#past.moment(when), paths, deletes }
    for await (const { kind, path, from, difference } of restoreSteps(store, range))
      yield { kind, change: asChange({ ...difference, path, ...(from !== undefined && { from }) }) }
  }

  /** Clones a file or directory as of `at`, by default the present. The clone is independent and shares all stored bytes. */
  async clone(source: string, target: string, { at }: { readonly at?: string } = {}): Promise<string> {
    const history = this.#history()
    return formatTid(
      await this.#isolation.outside(() => history.clone(storedPath(source), storedPath(target), sent(at))),
    )
  }

  /**
   * The history, or what has changed since `from`, as a stream for `receive` in another database. Without `to` it ends with what was
   * changed until now.
   * @throws StoreError with the code `no-moment` or `no-transaction` if the range does not exist.
   */
  async *send(options: SendOptions = {}): AsyncGenerator<Uint8Array> {
    if (options.to === undefined) await this.#syncIfWritable()
    yield* send(this.name, { ...options, key: options.key ?? this.key })
  }

  /** The size of the stream that {@link Database.send} would yield; the bytes of files are not read. */
  async sizeToSend(
    range: Pick<SendOptions, 'from' | 'to' | 'selfContained' | 'key'> = {},
  ): Promise<StreamSize> {
    if (range.to === undefined) await this.#syncIfWritable()
    return await sizeToSend(this.name, { ...range, key: range.key ?? this.key })
  }

  /**
   * Backs up the database as streams in a directory: everything the first time, then what has changed. Each file is verified;
   * `receive` restores them.
   */
  async backup(directory: string, options: BackupOptions = {}): Promise<BackedUp> {
    await this.#syncIfWritable()
    return await backup(this.name, directory, { ...options, key: options.key ?? this.key })
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

  async #syncIfWritable(): Promise<void> {
    if (!this.readOnly) await this.sync()
  }

  /** @throws ReadOnlyError */
  #history(): HistoryOperations {
    const { history } = this.#parts.fileSystem
    if (history === undefined) throw new ReadOnlyError(`${this.name} is opened read-only`)
    return history
  }

  #filesAt(parts: Pick<FilesParts, 'guard' | 'base'>): Files {
    const { fileSystem, caller, umask } = this.#parts
    return new Files({ operations: fileSystem, caller, umask, ...parts })
  }
}

/** @throws StoreError */
function transactionOf(text: string): Tid {
  const tid = parseTid(text)
  if (tid === undefined)
    throw new StoreError(`${text} is not a tid: it has 16 hex digits`, { code: 'bad-moment' })
  return tid
}

/** A moment for the process that serves the database, whose time zone may be another. */
const sent = (when: string | undefined): string | undefined =>
  when === undefined ? undefined : momentToSend(storedName(when))

/** @throws StoreError if a tag keeps the moment at which a branch begins. */
async function assertKeepsNoBranch(database: string, tag: string): Promise<void> {
  const branch = branchOfTag(tag)
  if (branch !== undefined && (await branchNames(database)).includes(branch))
    throw new StoreError(`the tag ${tag} keeps the moment at which the branch ${branch} begins`, {
      code: 'branch-tag',
      path: branch,
    })
}
