/** stat(2), chmod(2), chown(2), utimensat(2), truncate(2), readlink(2): the attributes of inodes. */
import type { Awaitable } from '../../../store/awaitable.ts'
import { constants } from 'node:fs'
import { typeOf, type Inode } from '../../tree/inode.ts'
import type { SetAttributes } from '../commit/intent.ts'
import type { Context } from '../context.ts'
import { SMALL_CHANGE_BYTES } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import type { AttributeChanges, Attributes, Ino } from '../operations.ts'
import { followMode } from './acl.ts'
import { noteAccess, setAccessTime } from './access-time.ts'
import { attributesOf, mayFillHoles, PERMISSIONS, setTimes } from './attributes.ts'
import { resize } from './file-bytes.ts'
import { dropAllPrivileges, dropPrivileges } from './privileges.ts'

/** @param needsBlocks whether st_blocks counts pages of mappings that the kernel has not sent yet. */
export function getattr(context: Context, ino: Ino, needsBlocks: boolean): Awaitable<Attributes> {
  return context.look(ino, node => {
    if (!mayFillHoles(node)) return attributesOf(node)
    // Programs seek to the end of a file repeatedly. A stat(2) within this time may not count pages that were changed in it.
    if (!needsBlocks) return { ...attributesOf(node), validity: 'momentarily' }
    const collecting = context.mappedPages.collectFor(node, 'stat')
    return collecting === undefined ? attributesOf(node) : afterwards(node, collecting)
  })
}

async function afterwards(node: Node, collecting: Promise<void>): Promise<Attributes> {
  await collecting
  await node.inode.activate()
  return attributesOf(node)
}

/** The kernel has checked whether the caller may do it. @throws ErrnoError EISDIR, EINVAL, EFBIG for sizes. */
export function setattr(context: Context, ino: Ino, changes: AttributeChanges): Awaitable<Attributes> {
  const dataBytes = changes.size === undefined ? 0 : SMALL_CHANGE_BYTES
  const apply = async (node: Node, inode: Inode): Promise<Attributes> => {
    const nowNs = context.nowNs()
    const { uid, gid, mode, atimeNs, mtimeNs, ctimeNs } = changes
    if (changes.size !== undefined) {
      await resize(context, node, changes.size)
      await inode.activate()
      setTimes(inode, nowNs, 'mtime')
      dropPrivileges(context, node, () => changes.dropsSetuid !== true)
    }
    if (uid !== undefined) inode.uid = uid
    if (gid !== undefined) inode.gid = gid
    if (uid !== undefined || gid !== undefined || changes.dropsPrivileges === true) dropAllPrivileges(inode)
    if (mode !== undefined) {
      inode.mode = typeOf(inode) | (mode & PERMISSIONS)
      followMode(inode)
    }
    if (atimeNs !== undefined) setAccessTime(node, atimeNs === 'now' ? nowNs : atimeNs)
    if (mtimeNs !== undefined) inode.setTime('mtime', mtimeNs === 'now' ? nowNs : mtimeNs)
    inode.setTime('ctime', ctimeNs ?? nowNs)
    context.changedAsIntended(node)
    context.intend(nowNs, { kind: 'setattr', ino, set: outcome(inode, changes, nowNs) })
    return attributesOf(node)
  }
  // A file that grows without data takes no room either.
  return context.change(ino, dataBytes, apply, { frees: changes.size !== undefined })
}

/** What a setattr sets when it is repeated. Of an inode whose privileges it dropped, the mode is set as well. */
function outcome(inode: Inode, changes: AttributeChanges, nowNs: bigint): SetAttributes {
  const { gid, size, atimeNs, mtimeNs, ctimeNs } = changes
  const uid = changes.dropsPrivileges === true ? inode.uid : changes.uid
  return {
    mode: inode.mode & PERMISSIONS,
    ...(uid !== undefined && { uid }),
    ...(gid !== undefined && { gid }),
    ...(size !== undefined && { size }),
    ...(atimeNs !== undefined && { atimeNs: atimeNs === 'now' ? nowNs : atimeNs }),
    ...(mtimeNs !== undefined && { mtimeNs: mtimeNs === 'now' ? nowNs : mtimeNs }),
    ...(ctimeNs !== undefined && { ctimeNs }),
  }
}

/** The target of a symbolic link. @throws ErrnoError EINVAL for anything else. */
export function readlink(context: Context, ino: Ino): Awaitable<Uint8Array> {
  return context.look(ino, (node, inode) => {
    if (typeOf(inode) !== constants.S_IFLNK) throw new ErrnoError('EINVAL')
    noteAccess(context, node)
    return inode.target
  })
}
