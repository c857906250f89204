/** Gives copies of the past (graft.ts) their place in the present. */
import { Directory } from '../../tree/directory.ts'
import { isDirectory } from '../../tree/inode.ts'
import type { Oid } from '../../../store/ids.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import { name as toName } from '../operations.ts'
import { activateAll, setTimes } from '../operations/attributes.ts'
import { isReserved } from '../reserved-names.ts'
import { copyAttributes, type Copy } from './graft.ts'

/** A name in a directory. */
export interface Place {
  readonly directory: Oid
  readonly name: string
}

/** Gives a copy its name. @throws ErrnoError ENOENT, EEXIST, EPERM */
export async function enterCopy(
  context: Context,
  { node, stored, bytes, inodes }: Copy,
  { directory: oid, name }: Place,
): Promise<void> {
  await context.changeNames([context.live.inoOf(oid)], async (...[directory]) => {
    if (directory === undefined) throw new ErrnoError('EINVAL')
    await context.lockAll([directory, node], async () => {
      const entries = Directory.of(context.live.connection, directory.inode)
      if (directory.inode.nlink === 0) throw new ErrnoError('ENOENT')
      if ((await entries.get(name)) !== undefined) throw new ErrnoError('EEXIST')
      if (isReserved(directory, toName(name))) throw new ErrnoError('EPERM')
      await entries.set(name, node.inode)
      await activateAll([directory, node])
      const { inode } = node
      const nowNs = context.nowNs()
      inode.named(directory.inode.ref, name)
      inode.stored = stored
      if (isDirectory(inode)) directory.inode.nlink++
      inode.nlink = isDirectory(inode) ? inode.nlink + 2 : 1
      setTimes(inode, nowNs, 'ctime')
      setTimes(directory.inode, nowNs, 'mtime', 'ctime')
      context.bookkeeping.reclaimed(node)
      context.bookkeeping.added(bytes, inodes)
      node.name = { parent: directory.oid, name }
      context.changed(node)
      context.changed(directory)
      context.caches.invalidateAbsence(directory, toName(name))
    })
  })
}

/** Moves the content of a copy to an existing file, which keeps its inode and names. */
export async function replaceByCopy(
  context: Context,
  existing: Oid,
  { node: copy, stored }: Copy,
): Promise<void> {
  const node = context.hold(context.live.node(existing))
  try {
    await context.change(node.ino, 0, async (node, inode) => {
      await copy.inode.activate()
      const { fileData } = copy.inode
      node.file?.abort()
      node.file = undefined
      node.noteEmptied()
      node.noteGrowth(stored)
      inode.replaceData(fileData)
      copyAttributes(copy.inode, inode)
      setTimes(inode, context.nowNs(), 'ctime')
      copy.inode.replaceData(undefined)
      context.fileChanged(node)
      context.changed(node)
      context.caches.invalidateNode(node)
    })
  } finally {
    context.leave(node)
  }
}
