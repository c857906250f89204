/** A feed of transactions: those that are there, then each one as it is made. */
import { setTimeout as sleep } from 'node:timers/promises'
import { CannotOpenError, StoreError } from '../../store/errors.ts'
import { formatTid, tid as toTid, TID_NONE, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { differences } from '../history/difference.ts'
import { MomentView } from '../history/moment-view.ts'
import { asChange, asHead, type Change, type TransactionHead } from './changes.ts'
import type { Files } from './files.ts'

/** The longest delay where the store is polled. */
const INTERVAL_MS = 10
const BEGINNING = formatTid(TID_NONE)

export interface WatchOptions {
  /** The first transaction is the one after this moment; absent: after the present; 16 zeros: the first that is kept. */
  readonly since?: string
  /** Only what is there or below it. A transaction that changed nothing there comes with no changes. */
  readonly path?: string
  readonly signal?: AbortSignal
}

/** A transaction of a feed. */
export interface TransactionChanges extends TransactionHead {
  /** What it changed, found as it is read. */
  readonly changes: () => AsyncGenerator<Change>
}

export interface FeedContext {
  readonly moment: (when: string) => Promise<Tid>
  readonly filesAt: (tid: Tid) => Files
}

export async function* feed(
  store: Store,
  { since, path = '', signal }: WatchOptions,
  { moment, filesAt }: FeedContext,
): AsyncGenerator<TransactionChanges> {
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
      yield { ...asHead(info), changes: () => changesOf(store, info.tid, path, filesAt) }
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

async function* changesOf(
  store: Store,
  tid: Tid,
  path: string,
  filesAt: FeedContext['filesAt'],
): AsyncGenerator<Change> {
  const inner = Buffer.from(path, 'utf8').toString('latin1').split('/').filter(Boolean).join('/')
  const before = toTid(tid - 1n)
  if (!(await isFileSystem(store, before))) yield* everything(filesAt(tid), inner)
  else
    for await (const difference of differences(store, before, tid, { path: inner }))
      yield asChange(difference)
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

/** All files of a moment, at `path` or below it. */
async function* everything(files: Files, path: string): AsyncGenerator<Change> {
  const stack = ['']
  for (let directory = stack.pop(); directory !== undefined; directory = stack.pop())
    for await (const entry of files.opendir(Buffer.from(`/${directory}`, 'latin1'))) {
      const name = Buffer.from(entry.nameBytes).toString('latin1')
      const full = directory === '' ? name : `${directory}/${name}`
      if (entry.isDirectory()) stack.push(full)
      if (path !== '' && full !== path && !full.startsWith(`${path}/`)) continue
      const { mode, sizeExact } = await files.lstat(Buffer.from(full, 'latin1'))
      yield asChange({ kind: 'added', path: full, mode, sizeAfter: sizeExact, attributes: [], ranges: [] })
    }
}
