/** The history of a database as a program reads it: its transactions, differences and patches. */
import { StoreError } from '../../store/errors.ts'
import { formatTid, TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { resolveMoment, resolveStart, timelineOf } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'
import type { DifferenceOptions } from '../history/difference.ts'
import { globMatcher } from '../history/glob.ts'
import { formerAt, log, type LoggedTransaction } from '../history/log.ts'
import { MomentView } from '../history/moment-view.ts'
import { viewAt, viewBefore } from '../history/transaction-changes.ts'
import { storedName, storedPath, textOfStored } from '../stored-names.ts'
import { asChange, asTransaction, type Change, type Transaction } from './changes.ts'
import type { FeedTransaction, WatchOptions } from './feed.ts'

// A log needs none of them, and takes less time than they take to load.
const ofDifferences = () => import('../history/difference.ts')
const ofReplacements = () => import('../history/replaced-files.ts')
const ofPatches = () => import('../history/patch.ts')
const ofFeeds = () => import('./feed.ts')

/** Where a branch begins. */
export interface BranchOrigin {
  readonly database: string
  readonly base: string
}

export interface LogOptions {
  /** Only transactions after this moment; all for a time before the first one. */
  readonly since?: string
  /** Only transactions up to this moment. */
  readonly until?: string
  readonly limit?: number
  /**
   * Only transactions that changed this file, or something in this directory, and only these changes. A path that does not exist
   * means the last file that had it.
   */
  readonly path?: string
  /** Only transactions that changed files whose path matches (`*.jpg`, `src/**`), and only these files. */
  readonly pattern?: string
  /** Only transactions that removed files, and only these files. */
  readonly removed?: boolean
  /** Only transactions whose message matches. */
  readonly grep?: RegExp
  /** Only transactions that changed how often a file has these bytes, and only these files. */
  readonly contains?: Uint8Array | string
  /** Maximum number of changes listed per transaction, up to a thousand. */
  readonly names?: number
  /** Whether transactions whose changes cannot be read are listed as well, with {@link Transaction.damage}, whatever the filters. */
  readonly listsDamaged?: boolean
  /** Ends the search with its reason. */
  readonly signal?: AbortSignal
}

/** A named moment. */
export interface TagInfo {
  readonly name: string
  /** 16 hex digits. */
  readonly tid: string
  readonly time: Date
  /** Whether it can be neither moved nor deleted. */
  readonly held: boolean
}

/** A transaction of {@link DatabaseHistory.watch}. */
export type TransactionChanges = FeedTransaction<Change>

/** Moments and paths are written as for Database (database.ts). */
export class DatabaseHistory {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** Of which database it is a branch, and at which transaction it begins; undefined for other databases. */
  get branch(): BranchOrigin | undefined {
    const { branch } = this.#store.capabilities
    return branch && { database: branch.database, base: formatTid(branch.base) }
  }

  /** The transaction that a moment refers to. @throws StoreError with the code `no-moment` or `bad-moment`. */
  async moment(when: string): Promise<Tid> {
    return await resolveMoment(this.#store, storedName(when), name => this.#tag(name))
  }

  /** The transactions, newest first, with what each changed. @throws StoreError with the code `no-path` */
  async *log(options: LogOptions = {}): AsyncGenerator<Transaction> {
    const {
      since,
      until,
      limit = Infinity,
      path = '',
      pattern,
      grep,
      contains,
      names,
      removed,
      listsDamaged,
      signal,
    } = options
    const store = this.#store
    const upTo = until === undefined ? await store.lastTid() : await this.moment(until)
    const after = since === undefined ? undefined : await this.#startOf(since)
    const range = { upTo, ...(after !== undefined && { after }) }
    const found = log(store, {
      ...range,
      limit,
      ...(await placeOf(store, path, range)),
      ...(pattern !== undefined && { isNamed: globMatcher(storedName(pattern)) }),
      ...(removed !== undefined && { removed }),
      ...(grep !== undefined && { isDescribed: described(grep) }),
      ...(contains !== undefined && contains.length > 0 && { contains: Buffer.from(contains) }),
      ...(names !== undefined && { names }),
      ...(listsDamaged !== undefined && { listsDamaged }),
      ...(signal !== undefined && { signal }),
    })
    const timeline = await timelineOf(store)
    for await (const logged of found) yield asTransaction(logged, timeline, () => patchOf(store, logged))
  }

  /** The differences between two moments: names first, in no particular order. */
  async *diff(
    before: string,
    after: string,
    { path = '', ...options }: DifferenceOptions = {},
  ): AsyncGenerator<Change> {
    const [a, b] = [await this.moment(before), await this.moment(after)]
    const views = [await MomentView.open(this.#store, a), await MomentView.open(this.#store, b)] as const
    const [{ differences }, { withReplacements }] = [await ofDifferences(), await ofReplacements()]
    const found = differences(this.#store, a, b, { path: storedPath(path), ...options })
    for await (const difference of withReplacements(found, ...views)) yield asChange(difference)
  }

  /**
   * The differences of text files between two moments line by line, as `git diff` prints them: lines without newlines. Other
   * files that differ are named.
   */
  async *patch(
    before: string,
    after: string,
    { path = '', ...options }: DifferenceOptions = {},
  ): AsyncGenerator<Buffer> {
    const store = this.#store
    const [a, b] = [await this.moment(before), await this.moment(after)]
    const views = [await MomentView.open(store, a), await MomentView.open(store, b)] as const
    const [{ differences }, { withReplacements }] = [await ofDifferences(), await ofReplacements()]
    const { patch } = await ofPatches()
    const found = differences(store, a, b, { path: storedPath(path), ...options })
    for await (const { kind, path: at, from } of withReplacements(found, ...views)) {
      const patched = { kind, path: at, ...(from !== undefined && { from }) }
      for await (const line of patch(store, ...views, patched)) yield Buffer.from(line, 'latin1')
    }
  }

  /**
   * Each transaction after a moment, with its changes, without gaps: first the existing ones, then each new one from any
   * process. It ends when `signal` is aborted. With `path`, the changes are only those at it or below it.
   * @throws StoreError with the code `no-moment` if some transactions after `since` are no longer kept.
   */
  async *watch({
    path = '',
    ...options
  }: WatchOptions & { readonly path?: string } = {}): AsyncGenerator<TransactionChanges> {
    const { FileChanges, feed } = await ofFeeds()
    const store = this.#store
    const inner = storedPath(path)
    const found = new FileChanges(store, inner)
    async function* changes(tid: Tid, previous: Tid | undefined): AsyncGenerator<Change> {
      for await (const difference of found.of(tid, previous)) yield asChange(difference)
    }
    yield* feed({ store, moment: when => this.moment(when), changesOf: changes }, options)
  }

  /** The tags, by name. */
  async *tags(): AsyncGenerator<TagInfo> {
    const timeline = await timelineOf(this.#store)
    const { superblock } = await this.#present()
    for await (const { name, tid, isHeld } of superblock.allTags())
      yield {
        name: textOfStored(name),
        tid: formatTid(tid),
        time: new Date(timeline.timeOf(tid)),
        held: isHeld,
      }
  }

  async #startOf(since: string): Promise<Tid | undefined> {
    const start = await resolveStart(this.#store, storedName(since), name => this.#tag(name))
    return start === TID_NONE ? undefined : start
  }

  async #tag(name: string): Promise<Tid | undefined> {
    return await (await this.#present()).superblock.tag(name)
  }

  async #present(): Promise<MomentView> {
    return await MomentView.open(this.#store, await this.#store.lastTid())
  }
}

/** A global or sticky expression has a state, which is not used. */
function described(grep: RegExp): (description: string) => boolean {
  const expression = new RegExp(grep.source, grep.flags.replaceAll(/[gy]/g, ''))
  return description => expression.test(description)
}

/** The inode of a path, and up to when it had the path. @throws StoreError with the code `no-path` */
async function placeOf(
  store: Store,
  path: string,
  range: { readonly upTo: Tid; readonly after?: Tid },
): Promise<{ readonly of?: Oid; readonly upTo?: Tid }> {
  const inner = storedPath(path)
  if (inner === '') return {}
  const inode = await (await MomentView.open(store, range.upTo)).find(inner)
  if (inode !== undefined) return { of: inode.oid }
  const former = await formerAt(store, inner, range)
  if (former !== undefined)
    return { of: former.oid, ...(former.removedBy !== undefined && { upTo: former.removedBy }) }
  const since = range.after === undefined ? 'the kept history' : `the history after ${formatTid(range.after)}`
  throw new StoreError(`there is no ${path} at ${formatTid(range.upTo)}, nor was there one in ${since}`, {
    code: 'no-path',
  })
}

async function* patchOf(store: Store, { info, changes }: LoggedTransaction): AsyncGenerator<Buffer> {
  const { patch } = await ofPatches()
  const [before, after] = [await viewBefore(store, info.tid), await viewAt(store, info.tid)]
  for (const change of changes)
    for await (const line of patch(store, before, after, change)) yield Buffer.from(line, 'latin1')
}
