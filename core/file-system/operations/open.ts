/** open(2), creat(2) and close(2). A handle keeps its inode, with or without a name. */
import type { Awaitable } from '../../../store/awaitable.ts'
import { constants } from 'node:fs'
import { isDirectory, type Inode } from '../../tree/inode.ts'
import type { Context } from '../context.ts'
import type { Node } from '../inodes/tree.ts'
import { ErrnoError } from '../errno.ts'
import type { Caller, Entry, Fh, Ino, KeepsSetuid, Name, OpenFile } from '../operations.ts'
import { entryOf, mayFillHoles, PERMISSIONS, setTimes } from './attributes.ts'
import { SMALL_CHANGE_BYTES } from '../context.ts'
import { createFile, createUnnamed } from './create.ts'
import { resize } from './file-bytes.ts'
import { forget } from './lookup.ts'
import { dropPrivileges } from './privileges.ts'
import { getattr } from './setattr.ts'

const { O_WRONLY, O_RDWR, O_TRUNC, O_EXCL, O_NOATIME } = constants

/** @throws ErrnoError EISDIR, EROFS */
export async function open(
  context: Context,
  ino: Ino,
  flags: number,
  keepsSetuid: KeepsSetuid,
): Promise<OpenFile> {
  const isWriting = (flags & (O_WRONLY | O_RDWR)) !== 0
  if (flags & O_TRUNC) await empty(context, ino, keepsSetuid)
  return await context.look(ino, (node, inode) => {
    if (isDirectory(inode)) throw new ErrnoError('EISDIR')
    if (isWriting) context.assertWritable(node)
    node.handles++
    const isMappable = (flags & O_RDWR) !== 0
    if (isMappable) {
      context.mappedPages.opened(node)
      // The kernel may keep what st_blocks was without mappings.
      if (mayFillHoles(node)) context.caches.invalidateStat(node.ino)
    }
    // Data changes only through operations of this mount, so pages cached earlier are valid.
    const ignoresAccess = (flags & O_NOATIME) !== 0
    return { fh: context.handles.add({ kind: 'file', node, isMappable, ignoresAccess }), pages: 'keep' }
  })
}

/** Creates a file and opens it; with O_EXCL only if the name is free. O_TRUNC is for a file that has the name already. */
export async function create(
  context: Context,
  parent: Ino,
  name: Name,
  mode: number,
  flags: number,
  caller: Caller,
  keepsSetuid: KeepsSetuid,
): Promise<{ readonly entry: Entry; readonly file: OpenFile }> {
  const { entry, isNew } = await createFile(context, parent, name, mode, caller, (flags & O_EXCL) === 0)
  try {
    const { ino } = entry.attributes
    const file = await open(context, ino, isNew ? flags & ~O_TRUNC : flags, keepsSetuid)
    if (isNew || (flags & O_TRUNC) === 0) return { entry, file }
    return { entry: { ...entry, attributes: await getattr(context, ino, false) }, file }
  } catch (error) {
    forget(context, entry.attributes.ino, 1)
    throw error
  }
}

/** Makes a file without a name and opens it (O_TMPFILE). It is dropped with its last handle unless it gets a name. */
export async function openUnnamed(
  context: Context,
  parent: Ino,
  mode: number,
  flags: number,
  caller: Caller,
): Promise<{ readonly entry: Entry; readonly file: OpenFile }> {
  const entry = await context.changeNames([parent], async (...[directory]) => {
    if (directory === undefined) throw new ErrnoError('EINVAL')
    const node = await createUnnamed(context, directory, mode, caller)
    try {
      await node.inode.activate()
      return entryOf(node)
    } finally {
      context.leave(node)
    }
  })
  try {
    return { entry, file: await open(context, entry.attributes.ino, flags & ~O_TRUNC, () => true) }
  } catch (error) {
    forget(context, entry.attributes.ino, 1)
    throw error
  }
}

/** Closes the handle of a file or directory. @throws ErrnoError EBADF */
export function release(context: Context, fh: Fh): void {
  const handle = context.handles.remove(fh)
  if (handle.kind === 'generated' || handle.kind === 'stream') return
  handle.node.handles--
  if (handle.kind === 'file' && handle.isMappable) context.mappedPages.closed(handle.node)
  context.dropUnused(handle.node)
}

function empty(context: Context, ino: Ino, keepsSetuid: KeepsSetuid): Awaitable<void> {
  const emptied = async (node: Node, inode: Inode): Promise<void> => {
    await resize(context, node, 0n)
    await inode.activate()
    dropPrivileges(context, node, keepsSetuid)
    const timeNs = context.nowNs()
    setTimes(inode, timeNs, 'mtime', 'ctime')
    context.changedAsIntended(node)
    context.intend(timeNs, { kind: 'setattr', ino, set: { size: 0n, mode: inode.mode & PERMISSIONS } })
  }
  return context.change(ino, SMALL_CHANGE_BYTES, emptied, { frees: true })
}
