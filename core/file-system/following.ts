/**
 * A read-only mount that follows the commits of another process. It shows one transaction at a time, and moves to a later one
 * between operations (advance.ts): all of them see the same transaction, from their beginning to their end.
 */
import type { Logger } from 'pino'
import type { Watching } from '../../store/capabilities.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import type { Context } from './context.ts'
import { overridden } from '../overridden.ts'
import { ReadWriteLock } from './locks.ts'
import { advanceTo } from './advance.ts'
import type { Operations } from './operations.ts'

/** Maximum polling delay, for stores without notifications. */
export const INTERVAL_MS = 500

/** The read-only operations. */
export const READING = [
  'lookup',
  'getattr',
  'readlink',
  'getxattr',
  'listxattr',
  'open',
  'read',
  'seek',
  'opendir',
  'readdir',
  'readdirplus',
  'statfs',
] as const satisfies readonly (keyof Operations)[]

type ReadingName = (typeof READING)[number]

export interface FollowerParts {
  readonly store: Store
  readonly watching: Watching
  readonly context: Context
  readonly log: Logger
}

export class Follower {
  readonly #parts: FollowerParts
  /** Shared by operations, exclusive for a move. */
  readonly #lock = new ReadWriteLock()
  #stop: (() => void) | undefined

  constructor(parts: FollowerParts) {
    this.#parts = parts
  }

  start(): void {
    const { watching, context, log } = this.#parts
    this.#stop ??= watching.watch({
      after: context.live.connection.at,
      intervalMs: INTERVAL_MS,
      onAdvance: tid => this.#advanceTo(tid),
      onError: error => log.warn({ err: error }, 'later transactions cannot be shown: trying again'),
    })
  }

  stop(): void {
    this.#stop?.()
    this.#stop = undefined
  }

  /** The same operations, each of which sees one transaction. */
  serve<T extends Operations>(operations: T): T {
    const waiting: Partial<Record<ReadingName, unknown>> = {}
    for (const name of READING) {
      const method = operations[name]?.bind(operations) as ((...parameters: unknown[]) => unknown) | undefined
      if (method !== undefined)
        waiting[name] = (...parameters: unknown[]) =>
          this.#lock.whileShared(async () => await method(...parameters))
    }
    return overridden<Operations, T>(operations, waiting as Partial<Operations>)
  }

  async #advanceTo(at: Tid): Promise<void> {
    const { store, context, log } = this.#parts
    await this.#lock.whileAlone(async () => await advanceTo(at, store, context))
    await context.caches.settled()
    log.debug({ tid: formatTid(at) }, 'showing a later transaction')
  }
}
