/**
 * Packing a database: history before a moment and objects that nothing reaches are dropped, and their room goes back
 * to the host's filesystem, while the database is in use.
 *
 * Who works where: a thread of the pack (pack-thread.ts) reads and decides, over a connection of its own; the store's
 * writer does what was decided in steps of some milliseconds, between commits. Reads wait for neither.
 *
 * What may begin to need a moment while the pack begins:
 *
 * 1. The moments that are kept are written down. From here on nobody opens another (`Store.isKept`).
 * 2. `settle` stores what is prepared and not yet committed: it may share bytes of a moment that was closed meanwhile.
 * 3. The moments in use are asked for again: what was being opened during 1 is kept as well.
 *
 * Only then anything is dropped. Later commits take bytes and objects from the present or from kept moments alone.
 */
import { Worker } from 'node:worker_threads'
import { StoreError } from '../../store/errors.ts'
import type { Tid } from '../../store/ids.ts'
import {
  formatKeptMoments,
  isKept,
  KEPT_MOMENTS,
  keptMoments,
  type KeptMoments,
} from '../../store/kept-moments.ts'
import { fromWire, toWire } from '../../store/errors.ts'
import { pinnedMoments } from '../../store/sqlite/open/reader-pin.ts'
import type { WritableSqliteStore } from '../../store/sqlite/sqlite-store.ts'
import { newestUpTo } from './moments.ts'
import type { PackData, PackMessage, PackProgress, PackReport, StepAnswer } from './messages.ts'

export type { PackPhase, PackProgress, PackReport } from './messages.ts'

const THREAD_FILE = new URL(
  `./pack-thread${import.meta.url.slice(import.meta.url.lastIndexOf('.'))}`,
  import.meta.url,
)

/** A bound for the thread's heap, far above what it needs; a pack that would need more fails and loses nothing. */
const THREAD_LIMITS = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 16 }

export interface PackOptions {
  /** The state at this moment is kept, and every later one; TID_NONE keeps all, TID_MAX the present alone. */
  readonly from: Tid
  /**
   * The moments before it that are kept as well: tags, and those in use in this process. Asked for twice. Those that
   * other processes read are known (store/sqlite/open/reader-pin.ts).
   */
  readonly moments?: () => Promise<readonly Tid[]>
  /** Stores everything that is prepared; called twice. */
  readonly settle?: () => Promise<unknown>
  /** How long to rest after each piece of work, as a multiple of the time that it took; none if absent. */
  readonly rest?: number
  /** Free pages that may stay in the file, for what is written next, in bytes; none if absent. */
  readonly spareBytes?: number
  readonly onProgress?: (progress: PackProgress) => void
  /** Ends the pack early. What is done is done. */
  readonly signal?: AbortSignal
}

/** One pack of a database at a time. @throws StoreError; the signal's reason. Nothing that is kept is lost. */
export async function pack(store: WritableSqliteStore, options: PackOptions): Promise<PackReport> {
  options.signal?.throwIfAborted()
  const kept = await settleMoments(store, options)
  const data: PackData = {
    path: store.name,
    from: kept.from,
    earlier: kept.earlier,
    rest: options.rest ?? 0,
    spareBytes: options.spareBytes ?? 0,
  }
  const worker = new Worker(THREAD_FILE, { workerData: data, resourceLimits: THREAD_LIMITS })
  const stop = (): void => void worker.terminate()
  options.signal?.addEventListener('abort', stop, { once: true })
  try {
    return await runThread(worker, store, options)
  } finally {
    options.signal?.removeEventListener('abort', stop)
    await worker.terminate()
  }
}

/** Writes down which moments are kept, so that nobody begins to use another one. */
async function settleMoments(store: WritableSqliteStore, options: PackOptions): Promise<KeptMoments> {
  const { moments = () => Promise.resolve([]), settle } = options
  const before = await store.keptMoments()
  const newest = await newestUpTo(store, options.from)
  // What an earlier pack has forgotten does not come back.
  const from = newest > before.from ? newest : before.from
  let kept: KeptMoments | undefined
  for (let round = 0; round < 2; round++) {
    const wanted = [...(kept?.earlier ?? []), ...(await moments()), ...pinnedMoments(store.name)]
    kept = keptMoments(
      from,
      wanted.filter(moment => isKept(before, moment)),
    )
    await store.packStep({ kind: 'note', name: KEPT_MOMENTS, value: formatKeptMoments(kept) })
    await settle?.()
  }
  return kept ?? before
}

function runThread(
  worker: Worker,
  store: WritableSqliteStore,
  { onProgress, signal }: PackOptions,
): Promise<PackReport> {
  return new Promise((resolve, reject) => {
    const answer = (answer: StepAnswer): void => worker.postMessage(answer, [])
    worker.on('message', (message: PackMessage) => {
      switch (message.kind) {
        case 'step':
          store.packStep(message.step).then(
            result => answer({ result }),
            (error: unknown) => answer({ error: toWire(error) }),
          )
          break
        case 'progress':
          onProgress?.(message.progress)
          break
        case 'done':
          resolve(message.report)
          break
        case 'failed':
          reject(fromWire(message.error))
      }
    })
    worker.on('error', reject)
    worker.on('exit', () => {
      reject(
        signal?.aborted === true
          ? (signal.reason as Error)
          : new StoreError(`packing ${store.name} ended early: nothing that is kept is lost; pack again`),
      )
    })
  })
}
