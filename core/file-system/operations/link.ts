/** link(2): another name for an inode. */
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Entry, Ino, Name } from '../operations.ts'
import { activateAll, assertDirectory, checkNewName, entryOf, setTimes } from './attributes.ts'
import { enterName, findExisting } from './entries.ts'
import { isDirectory } from '../../tree/inode.ts'

/** The same as XFS. */
const LINK_MAX = 2 ** 31 - 1

/** @throws ErrnoError EPERM for directories, EXDEV, EMLINK, EEXIST, ENOENT for an inode without a name. */
export function link(context: Context, ino: Ino, parent: Ino, name: Name): Promise<Entry> {
  checkNewName(name)
  return context.changeNames([parent, ino], async (...[directory, node]) => {
    if (directory === undefined || node === undefined) throw new ErrnoError('EINVAL')
    if (node.tree !== directory.tree) throw new ErrnoError('EXDEV')
    return await context.lockAll([directory, node], async () => {
      const { inode } = node
      assertDirectory(directory.inode)
      if (isDirectory(inode)) throw new ErrnoError('EPERM')
      if (inode.nlink === 0 && !node.isLinkable) throw new ErrnoError('ENOENT')
      if (inode.nlink >= LINK_MAX) throw new ErrnoError('EMLINK')
      if ((await findExisting(directory, name)) !== undefined) throw new ErrnoError('EEXIST')
      const timeNs = context.nowNs()
      await enterName(context, directory, name, inode, timeNs)
      await activateAll([directory, node])
      inode.named(directory.inode.ref, name)
      inode.nlink++
      node.isLinkable = false
      if (node.isOrphan) context.bookkeeping.reclaimed(node)
      setTimes(inode, timeNs, 'ctime')
      node.name = { parent: directory.oid, name }
      // The next mount drops what has no name before it replays intents.
      if (inode.nlink === 1) context.changed(node)
      else {
        context.changedAsIntended(node)
        context.intend(timeNs, { kind: 'link', ino, parent, name })
      }
      return entryOf(node)
    })
  })
}
