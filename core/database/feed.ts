/** A feed of transactions: the existing ones, then each new one as it is committed. */
import { setTimeout as sleep } from 'node:timers/promises'
import { CannotOpenError, StoreError } from '../../store/errors.ts'
import { formatTid, tid as toTid, TID_NONE, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { differencesOfViews, type Difference } from '../history/difference.ts'
import { MomentView } from '../history/moment-view.ts'
import { withReplacements } from '../history/replaced-files.ts'
import { timelineOf } from '../../store/moments.ts'
import { asHead, type TransactionHead } from './changes.ts'

/** Maximum polling delay, for stores without notifications. */
const INTERVAL_MS = 10
const BEGINNING = formatTid(TID_NONE)

export interface WatchOptions {
  /** The feed begins after this moment; absent: after the present; 16 zeros: with the first transaction that is kept. */
  readonly since?: string
  readonly signal?: AbortSignal
}

/** A transaction of a feed. */
export interface FeedTransaction<C> extends TransactionHead {
  /** Its changes, computed while they are iterated. */
  readonly changes: () => AsyncGenerator<C>
}

export interface FeedSource<C> {
  readonly store: Store
  readonly moment: (when: string) => Promise<Tid>
  /** @param previous the transaction before `tid`, if the feed has seen it. */
  readonly changesOf: (tid: Tid, previous: Tid | undefined) => AsyncGenerator<C>
}

/**
 * Each transaction once, in order, until the signal is aborted.
 * @throws StoreError with the code `no-moment` if some transactions after `since` are no longer kept.
 */
export async function* feed<C>(
  { store, moment, changesOf }: FeedSource<C>,
  { since, signal }: WatchOptions,
): AsyncGenerator<FeedTransaction<C>> {
  let known =
    since === undefined ? await store.lastTid() : since === BEGINNING ? TID_NONE : await moment(since)
  await assertWhole(store, known)
  let previous: Tid | undefined
  while (!isAborted(signal)) {
    const last = await store.lastTid()
    const timeline = await timelineOf(store)
    for await (const info of store.transactions({ after: known, upTo: last })) {
      if (isAborted(signal)) return
      // After it was read: a pack records what it keeps before it drops anything.
      await assertWhole(store, known)
      const before = previous
      yield { ...asHead(info, timeline), changes: () => changesOf(info.tid, before) }
      previous = known = info.tid
    }
    await advance(store, known, signal)
  }
}

/** Checks that every transaction after `known` is kept. @throws StoreError with the code `no-moment`. */
async function assertWhole(store: Store, known: Tid): Promise<void> {
  if (known === TID_NONE || (await store.isKept?.(toTid(known + 1n))) !== false) return
  throw new StoreError(`the history after ${formatTid(known)} is incomplete: a pack has dropped a part`, {
    code: 'no-moment',
  })
}

const isAborted = (signal: AbortSignal | undefined): boolean => signal?.aborted === true

/** Resolves when a transaction after `known` exists, or on abort. @throws the store's errors */
async function advance(store: Store, known: Tid, signal: AbortSignal | undefined): Promise<void> {
  const { watching } = store.capabilities
  if (watching === undefined) {
    await sleep(INTERVAL_MS, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
    return
  }
  // A watch does not keep the process alive.
  const alive = setInterval(() => undefined, 1 << 30)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const end = (): void => resolve()
  signal?.addEventListener('abort', end)
  const stop = watching.watch({
    after: known,
    onAdvance: () => Promise.resolve(resolve()),
    onError: reject,
    intervalMs: INTERVAL_MS,
    isEager: true,
  })
  try {
    if (!isAborted(signal)) await promise
  } finally {
    stop()
    signal?.removeEventListener('abort', end)
    clearInterval(alive)
  }
}

/** The changes of transactions at a path or below it. Those of successive transactions share what was read. */
export class FileChanges {
  readonly #store: Store
  readonly #path: string
  /** The state after the last transaction. */
  #last: MomentView | undefined

  constructor(store: Store, path: string) {
    this.#store = store
    this.#path = path
  }

  /**
   * The changes of a transaction; without an earlier state to compare with, everything that exists.
   * @param previous the transaction before it, if known.
   */
  async *of(tid: Tid, previous: Tid | undefined): AsyncGenerator<Difference> {
    const store = this.#store
    const last = previous !== undefined && this.#last?.at === previous ? this.#last : undefined
    const before = await this.#before(toTid(tid - 1n), last)
    const after = await MomentView.open(store, tid)
    if (before !== undefined) {
      const found = differencesOfViews(store, [before, after], { path: this.#path })
      yield* withReplacements(found, before, after)
    } else yield* everything(after, this.#path)
    this.#last = after
  }

  /** The earlier state; undefined for the first transaction, and for the first that is kept. `known`: the same state, if it was read. */
  async #before(at: Tid, known: MomentView | undefined): Promise<MomentView | undefined> {
    if ((await this.#store.isKept?.(at)) === false) return undefined
    if (known !== undefined) return known
    try {
      return await MomentView.open(this.#store, at)
    } catch (error) {
      if (error instanceof CannotOpenError) return undefined
      throw error
    }
  }
}

async function* everything(view: MomentView, within: string): AsyncGenerator<Difference> {
  for await (const { path, inode } of view.walk()) {
    const { text } = path
    if (within === '' || text === within || text.startsWith(`${within}/`))
      yield { kind: 'added', path: text, mode: inode.mode, sizeAfter: inode.size, attributes: [], ranges: [] }
  }
}
