/**
 * Packs a SQLite database: the thread of pack-thread.ts reads and decides over its own connection; the store's writer
 * runs the steps, some milliseconds each, between commits. Reads wait for neither.
 */
import { Worker } from 'node:worker_threads'
import { siblingModule } from '../../sibling-module.ts'
import type { PackReport, PackWork } from '../../capabilities.ts'
import type { MasterKey } from '../../encryption/keys.ts'
import { fromWire, StoreError, toWire } from '../../errors.ts'
import { NotedPacking, type NotedStore } from '../../indexed/pack/noted-packing.ts'
import type { PackData, PackMessage, StepAnswer } from './messages.ts'

const THREAD_FILE = siblingModule('pack-thread', import.meta.url)

/** Limit of the thread's heap, far above what it needs; a pack that exceeds it fails and loses nothing. */
const THREAD_LIMITS = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 16 }

/** The store that is packed. */
export interface PackedStore extends NotedStore {
  readonly name: string
}

export class SqlitePacking extends NotedPacking {
  readonly #store: PackedStore
  readonly #key: MasterKey | undefined

  constructor(store: PackedStore, key: MasterKey | undefined) {
    super(store)
    this.#store = store
    this.#key = key
  }

  async pack(work: PackWork): Promise<PackReport> {
    const { kept, marker, rest, spareBytes, signal } = work
    signal?.throwIfAborted()
    const data: PackData = {
      path: this.#store.name,
      key: this.#key,
      from: kept.from,
      earlier: kept.earlier,
      marker: marker.href,
      rest,
      spareBytes,
    }
    const worker = new Worker(THREAD_FILE, { workerData: data, resourceLimits: THREAD_LIMITS })
    try {
      return await this.#follow(worker, work)
    } finally {
      await worker.terminate()
    }
  }

  #follow(worker: Worker, { onProgress, signal }: PackWork): Promise<PackReport> {
    return new Promise((resolve, reject) => {
      const answer = (answer: StepAnswer): void => worker.postMessage(answer, [])
      const stop = (): void => void worker.terminate()
      worker.on('message', (message: PackMessage) => {
        switch (message.kind) {
          case 'loaded':
            // A thread that is terminated while it loads a native module ends the whole process (napi_fatal_error).
            if (signal?.aborted === true) stop()
            else signal?.addEventListener('abort', stop, { once: true })
            break
          case 'step':
            this.#store.packStep(message.step).then(
              result => answer({ result }),
              (error: unknown) => answer({ error: toWire(error) }),
            )
            break
          case 'progress':
            onProgress(message.progress)
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
        signal?.removeEventListener('abort', stop)
        reject(
          signal?.aborted === true
            ? (signal.reason as Error)
            : new StoreError(
                `packing ${this.#store.name} ended early: nothing that is kept is lost; pack again`,
              ),
        )
      })
    })
  }
}
