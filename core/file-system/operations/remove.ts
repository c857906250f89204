/** unlink(2) and rmdir(2). */
import { Directory } from '../../tree/directory.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import { DOT, DOT_DOT, type Ino, type Name } from '../operations.ts'
import { isReserved } from '../reserved-names.ts'
import { activateAll, assertDirectory, checkName, setTimes } from './attributes.ts'
import { isDirectory } from '../../tree/inode.ts'

/** @throws ErrnoError ENOENT, EISDIR */
export function unlink(context: Context, parent: Ino, name: Name): Promise<void> {
  return remove(context, parent, name, async (directory, node) => {
    if (isDirectory(node.inode)) throw new ErrnoError('EISDIR')
    await Directory.of(directory.tree.connection, directory.inode).delete(name)
    await activateAll([directory, node])
    node.inode.unnamed(directory.oid, name)
    node.inode.nlink--
  })
}

/** @throws ErrnoError ENOENT, ENOTDIR, ENOTEMPTY */
export function rmdir(context: Context, parent: Ino, name: Name): Promise<void> {
  if (name === DOT) throw new ErrnoError('EINVAL')
  if (name === DOT_DOT) throw new ErrnoError('ENOTEMPTY')
  return remove(context, parent, name, async (directory, node) => {
    const { connection } = directory.tree
    assertDirectory(node.inode)
    if (!(await Directory.of(connection, node.inode).isEmpty())) throw new ErrnoError('ENOTEMPTY')
    await directory.inode.activate()
    await Directory.of(connection, directory.inode).delete(name)
    await activateAll([directory, node])
    node.inode.unnamed(directory.oid, name)
    node.inode.nlink = 0
    directory.inode.nlink--
  })
}

/** Finds the inode of a name, locks it and the directory, runs `removeName`, and sets their times. */
function remove(
  context: Context,
  parent: Ino,
  name: Name,
  removeName: (directory: Node, node: Node) => Promise<void>,
): Promise<void> {
  checkName(name)
  const removeLocked = async (...[directory]: readonly Node[]): Promise<void> => {
    if (directory === undefined) throw new ErrnoError('EINVAL')
    assertDirectory(directory.inode)
    const oid = await Directory.of(directory.tree.connection, directory.inode).get(name)
    if (oid === undefined) throw new ErrnoError(isReserved(directory, name) ? 'EPERM' : 'ENOENT')
    const node = context.hold(directory.tree.node(oid))
    try {
      await context.lockAll([directory, node], async () => {
        await removeName(directory, node)
        const nowNs = context.nowNs()
        setTimes(directory.inode, nowNs, 'mtime', 'ctime')
        setTimes(node.inode, nowNs, 'ctime')
        if (node.inode.nlink === 0) context.bookkeeping.orphaned(node)
        context.changedAsIntended(node)
        context.changedAsIntended(directory)
        context.intend(nowNs, { kind: 'remove', parent, name, isDirectory: isDirectory(node.inode) })
      })
    } finally {
      context.leave(node)
    }
  }
  return context.changeNames([parent], removeLocked, { frees: true })
}
