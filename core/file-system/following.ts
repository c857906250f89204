/**
 * A read-only mount that follows the commits of another process. It shows one transaction at a time, and moves to a later one
 * between operations: all of them see the same transaction, from their beginning to their end.
 *
 * A move invalidates what the transactions in between have changed, in memory and in the kernel's caches: pages, attributes and name
 * of each changed inode, and the names in each changed directory. The absent names (negative entries) that the kernel has cached are
 * not recorded: all of them are invalidated when a directory was changed.
 */
import { setImmediate as turn } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Watching } from '../../store/capabilities.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import type { Context } from './context.ts'
import type { Node } from './inodes/tree.ts'
import { ReadWriteLock } from './locks.ts'
import type { Operations } from './operations.ts'
import { isDirectory } from '../tree/inode.ts'

/** Maximum polling delay, for stores without notifications. */
const INTERVAL_MS = 500

/** The read-only operations. */
const READING: ReadonlySet<keyof Operations> = new Set([
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
])

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
      onAdvance: tid => this.#moveTo(tid),
      onError: error => log.warn({ err: error }, 'later transactions cannot be shown: trying again'),
    })
  }

  stop(): void {
    this.#stop?.()
    this.#stop = undefined
  }

  /** The same operations, each of which sees one transaction. */
  serve<T extends Operations>(operations: T): T {
    return new Proxy(operations, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== 'function') return method
        const bound = method.bind(target) as (...parameters: unknown[]) => unknown
        if (!READING.has(name as keyof Operations)) return bound
        return (...parameters: unknown[]) => this.#lock.whileShared(async () => await bound(...parameters))
      },
    })
  }

  async #moveTo(at: Tid): Promise<void> {
    const { context, log } = this.#parts
    await this.#lock.whileAlone(async () => {
      // Send the replies of operations that have just ended first: their pages would otherwise arrive after the invalidation.
      await turn()
      const changed = await this.#dropChanged(at)
      this.#forget(changed, await hasDirectory(changed))
    })
    await context.caches.settled()
    log.debug({ tid: formatTid(at) }, 'showing a later transaction')
  }

  /** Moves the connection; returns the inodes in use that were changed. */
  async #dropChanged(at: Tid): Promise<ReadonlySet<Node>> {
    const { store, context } = this.#parts
    const { live, bookkeeping } = context
    const { connection } = live
    const changed = new Set<Node>()
    for await (const { oids } of store.changes(connection.at, at)) {
      connection.invalidate(oids)
      for (const oid of oids) {
        // The kernel refers to the root without a lookup.
        const node = oid === live.rootOid ? live.root : live.known(oid)
        if (node !== undefined) changed.add(node)
      }
    }
    connection.advance(at, [])
    for (const node of live.nodes) node.detach()
    await bookkeeping.reload(live)
    return changed
  }

  /** @param isNamesChanged whether names were added, removed or moved. */
  #forget(changed: ReadonlySet<Node>, isNamesChanged: boolean): void {
    const { live, caches } = this.#parts.context
    for (const node of live.nodes) {
      const directory = node.name && live.known(node.name.parent)
      if (changed.has(node)) caches.invalidateNode(node)
      else if (directory !== undefined && changed.has(directory)) caches.invalidateName(node)
    }
    if (isNamesChanged) caches.invalidateAbsences()
  }
}

async function hasDirectory(nodes: Iterable<Node>): Promise<boolean> {
  for (const node of nodes) {
    try {
      await node.inode.activate()
      if (isDirectory(node.inode)) return true
    } catch {
      // Removed or damaged: an operation on it reports that.
      return true
    } finally {
      node.detach()
    }
  }
  return false
}
