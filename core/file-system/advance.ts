/**
 * Moves the present of a filesystem to a later transaction of another process, between operations. A move invalidates what the
 * transactions in between have changed, in memory and in the kernel's caches: pages, attributes and name of each changed inode, and the
 * names in each changed directory. The absent names (negative entries) that the kernel has cached are not recorded: all of them are
 * invalidated when a directory was changed; all other names as well, where that can be done at once.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { ObjectNotFoundError } from '../../store/errors.ts'
import type { Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import type { Context } from './context.ts'
import type { Node } from './inodes/tree.ts'
import { isDirectory } from '../tree/inode.ts'

/**
 * Moves to a later transaction. No operation may run, and nothing may be changed in memory.
 * @returns the inodes in use that were changed: the kernel's copies of them are being invalidated.
 */
export async function advanceTo(at: Tid, store: Store, context: Context): Promise<ReadonlySet<Node>> {
  // Send the replies of operations that have just ended first: their pages would otherwise arrive after the invalidation.
  await turn()
  const changed = await dropChanged(at, store, context)
  context.caches.invalidateChanged(changed, context.live, await hasDirectory(changed))
  return changed
}

/** Moves the connection; returns the inodes in use that were changed. */
async function dropChanged(
  at: Tid,
  store: Store,
  { live, bookkeeping }: Context,
): Promise<ReadonlySet<Node>> {
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

/** Brings a node back to what is stored. One that was never stored is gone. */
export async function revertNode(node: Node): Promise<void> {
  node.revert(false)
  node.detach()
  try {
    await node.inode.activate()
  } catch (error) {
    if (error instanceof ObjectNotFoundError && error.oid === node.oid) node.vanish()
  } finally {
    node.detach()
  }
}
