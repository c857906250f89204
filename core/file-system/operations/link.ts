/** link(2): another name for an inode, or the first one of a file without a name. */
import { Directory } from '../../tree/directory.ts'
import { isDirectory } from '../../tree/inode.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import type { Entry, Ino, Name } from '../operations.ts'
import { activateAll, assertDirectory, checkNewName, entryOf, setTimes } from './attributes.ts'
import { enterName, findExisting } from './entries.ts'

/** The same as XFS. */
const LINK_MAX = 2 ** 31 - 1

/**
 * @param replaces whether a file without a name may take the place of one that has the name.
 * @throws ErrnoError EPERM for directories, EXDEV, EMLINK, EEXIST, EISDIR, ENOENT for an inode that has lost its names.
 */
export function link(context: Context, ino: Ino, parent: Ino, name: Name, replaces = false): Promise<Entry> {
  checkNewName(name)
  return context.changeNames([parent, ino], async (...[directory, node]) => {
    if (directory === undefined || node === undefined) throw new ErrnoError('EINVAL')
    if (node.tree !== directory.tree) throw new ErrnoError('EXDEV')
    const replaced = replaces && node.isLinkable ? await holdExisting(context, directory, name) : undefined
    try {
      const locked = [directory, node, ...(replaced === undefined ? [] : [replaced])]
      return await context.lockAll(locked, () => linkLocked(context, directory, node, name, replaced))
    } finally {
      if (replaced !== undefined) context.leave(replaced)
    }
  })
}

async function linkLocked(
  context: Context,
  directory: Node,
  node: Node,
  name: Name,
  replaced: Node | undefined,
): Promise<Entry> {
  const { inode } = node
  assertDirectory(directory.inode)
  if (isDirectory(inode)) throw new ErrnoError('EPERM')
  if (inode.nlink === 0 && !node.isLinkable) throw new ErrnoError('ENOENT')
  if (inode.nlink >= LINK_MAX) throw new ErrnoError('EMLINK')
  if (replaced === undefined) {
    if ((await findExisting(directory, name)) !== undefined) throw new ErrnoError('EEXIST')
  } else if (isDirectory(replaced.inode)) throw new ErrnoError('EISDIR')
  const timeNs = context.nowNs()
  await enterName(context, directory, name, inode, timeNs)
  await activateAll([directory, node])
  inode.named(directory.inode.ref, name)
  inode.nlink++
  node.isLinkable = false
  if (node.isOrphan) context.bookkeeping.reclaimed(node)
  setTimes(inode, timeNs, 'ctime')
  node.name = { parent: directory.oid, name }
  if (replaced !== undefined) await removeName(context, directory, replaced, name, timeNs)
  // The next mount drops what has no name before it replays intents.
  if (inode.nlink === 1) context.changed(node)
  else {
    context.changedAsIntended(node)
    context.intend(timeNs, { kind: 'link', ino: node.ino, parent: directory.ino, name })
  }
  return entryOf(node)
}

/** The node of a name, held until {@link Context.leave}. */
async function holdExisting(context: Context, directory: Node, name: Name): Promise<Node | undefined> {
  await directory.inode.activate()
  assertDirectory(directory.inode)
  const oid = await Directory.of(directory.tree.connection, directory.inode).get(name)
  return oid === undefined ? undefined : context.hold(directory.tree.node(oid))
}

/** Removes a name from an inode after its directory entry has been given to another inode. */
async function removeName(
  context: Context,
  directory: Node,
  node: Node,
  name: Name,
  timeNs: bigint,
): Promise<void> {
  const { inode } = node
  await inode.activate()
  inode.unnamed(directory.oid, name)
  inode.nlink--
  setTimes(inode, timeNs, 'ctime')
  if (inode.nlink === 0) context.bookkeeping.orphaned(node)
  context.changed(node)
}
