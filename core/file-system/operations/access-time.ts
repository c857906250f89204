/**
 * Access times: kept in memory, stored with the next transaction (lazytime). Reads alone make no transaction.
 *
 * A read counts if it is the first since a change, or for a day (relatime). Until a transaction stores it, the
 * time is in {@link AccessTimes} of the live tree (bounded: the oldest are forgotten) and shown from there.
 */
import { isDamageError } from '../../../store/errors.ts'
import type { Context } from '../context.ts'
import type { Node, Tree } from '../inodes/tree.ts'
import { accessTimeOf } from './attributes.ts'

const DAY_MS = 86_400_000
const NS_PER_MS = 1e6

/** Records a read of an activated inode, if it counts. Returns whether it does. */
export function noteAccess(context: Context, node: Node): boolean {
  if (node.tree.readOnly || context.ignoresAccess || !isDue(node)) return false
  node.tree.accessTimes.note(node.oid, context.nowNs())
  return true
}

/** Sets the access time of a locked, activated inode as an ordinary change. */
export function setAccessTime(node: Node, timeNs: bigint): void {
  node.tree.accessTimes.forget(node.oid)
  node.inode.setTime('atime', timeNs)
}

/**
 * Moves at most `limit` times into their inodes, so that the next transaction stores them. Call with the gate shared.
 * Deleted and unreadable inodes are skipped.
 */
export async function storeAccessTimes(tree: Tree, limit: number): Promise<void> {
  const { accessTimes, connection } = tree
  const noted = accessTimes.oldest(limit)
  if (noted.length === 0) return
  const inodes = noted.map(([oid]) => tree.inodeAt(oid))
  await connection.loadMany(inodes.map(({ object }) => object)).catch(() => undefined)
  for (const [i, [oid, timeNs]] of noted.entries()) {
    const inode = inodes[i]
    if (inode === undefined) continue
    try {
      await inode.activate()
      if (accessTimes.get(oid) === timeNs && inode.nlink > 0) inode.setTime('atime', timeNs)
    } catch (error) {
      if (!isDamageError(error)) throw error
    }
    if (accessTimes.get(oid) === timeNs) accessTimes.forget(oid)
  }
}

function isDue(node: Node): boolean {
  const atimeNs = accessTimeOf(node)
  const { inode } = node
  if (atimeNs <= inode.time('mtime') || atimeNs <= inode.time('ctime')) return true
  return Date.now() - Number(atimeNs) / NS_PER_MS >= DAY_MS
}
