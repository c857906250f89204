/** A feed of transactions: those that are there, then each one as it is made. */
import { setTimeout as sleep } from 'node:timers/promises'
import { CannotOpenError, StoreError } from '../../store/errors.ts'
import { formatTid, tid as toTid, TID_NONE, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { differences, type Difference } from '../history/difference.ts'
import { MomentView } from '../history/moment-view.ts'
import { asHead, type TransactionHead } from './changes.ts'

/** The longest delay where the store is polled. */
const INTERVAL_MS = 10
const BEGINNING = formatTid(TID_NONE)

export interface WatchOptions {
  /** The first transaction is the one after this moment; absent: after the present; 16 zeros: the first that is kept. */
  readonly since?: string
  readonly signal?: AbortSignal
}

/** A transaction of a feed. */
export interface FeedTransaction<C> extends TransactionHead {
  /** What it changed, found as it is read. */
  readonly changes: () => AsyncGenerator<C>
}

export interface FeedSource<C> {
  readonly store: Store
  readonly moment: (when: string) => Promise<Tid>
  readonly changesOf: (tid: Tid) => AsyncGenerator<C>
}

/**
 * Each transaction once, in order, until the signal is aborted.
 * @throws StoreError with the code `no-moment` if the transactions after `since` are not all kept.
 */
export async function* feed<C>(
  { store, moment, changesOf }: FeedSource<C>,
  { since, signal }: WatchOptions,
): AsyncGenerator<FeedTransaction<C>> {
  let known =
    since === undefined ? await store.lastTid() : since === BEGINNING ? TID_NONE : await moment(since)
  if (known !== TID_NONE && (await store.isKept?.(known)) === false)
    throw new StoreError(`the history after ${formatTid(known)} is not whole: a pack has dropped a part`, {
      code: 'no-moment',
    })
  while (!isAborted(signal)) {
    const last = await store.lastTid()
    for await (const info of store.transactions({ after: known, upTo: last })) {
      if (isAborted(signal)) return
      yield { ...asHead(info), changes: () => changesOf(info.tid) }
    }
    known = last
    await advance(store, known, signal)
  }
}

const isAborted = (signal: AbortSignal | undefined): boolean => signal?.aborted === true

/** Resolves when there is a transaction after `known`, or at an abort. @throws the store's errors */
async function advance(store: Store, known: Tid, signal: AbortSignal | undefined): Promise<void> {
  const { watching } = store.capabilities
  if (watching === undefined) {
    await sleep(INTERVAL_MS, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
    return
  }
  // What watches does not keep the process alive.
  const alive = setInterval(() => undefined, 1 << 30)
  let stop = (): void => undefined
  try {
    await new Promise<void>((resolve, reject) => {
      if (isAborted(signal)) resolve()
      signal?.addEventListener('abort', () => resolve(), { once: true })
      const onAdvance = (): Promise<void> => Promise.resolve(resolve())
      stop = watching.watch({ after: known, onAdvance, onError: reject, intervalMs: INTERVAL_MS })
    })
  } finally {
    stop()
    clearInterval(alive)
  }
}

/** What a transaction changed at a path or below it; all that is there if there is nothing to compare it with. */
export async function* changesOf(store: Store, tid: Tid, path: string): AsyncGenerator<Difference> {
  const before = toTid(tid - 1n)
  if (await isFileSystem(store, before)) yield* differences(store, before, tid, { path })
  else yield* everything(await MomentView.open(store, tid), path)
}

/** Whether there is a state to compare with: not before the first transaction, nor before the first that is kept. */
async function isFileSystem(store: Store, at: Tid): Promise<boolean> {
  if ((await store.isKept?.(at)) === false) return false
  try {
    await MomentView.open(store, at)
    return true
  } catch (error) {
    if (error instanceof CannotOpenError) return false
    throw error
  }
}

async function* everything(view: MomentView, within: string): AsyncGenerator<Difference> {
  for await (const { path, inode } of view.walk()) {
    const { text } = path
    if (within === '' || text === within || text.startsWith(`${within}/`))
      yield { kind: 'added', path: text, mode: inode.mode, sizeAfter: inode.size, attributes: [], ranges: [] }
  }
}
