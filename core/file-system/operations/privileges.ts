/**
 * Privileges that a file loses by a change: setuid and setgid bits, and file capabilities.
 *
 * | change                                            | setuid, setgid                        | capabilities |
 * |---------------------------------------------------|---------------------------------------|--------------|
 * | data: write, truncate, fallocate, copy_file_range | dropped unless the caller keeps them  | dropped      |
 * | owner or group, even if they stay the same        | dropped                               | dropped      |
 *
 * setgid without group execute means mandatory locking, which is not a privilege: it stays. These are Linux's rules for
 * local filesystems (file_remove_privs, setattr_should_drop_suidgid). Directories keep everything.
 */
import { isDirectory, type Inode } from '../../tree/inode.ts'
import type { Context } from '../context.ts'
import type { Node } from '../inodes/tree.ts'
import type { KeepsSetuid } from '../operations.ts'
import { S_ISGID, S_ISUID } from './attributes.ts'

const S_IXGRP = 0o0010
const CAPABILITIES = 'security.capability'

/** Drops privileges of a locked, activated file whose data changes, and invalidates the kernel's cached mode. */
export function dropPrivileges(context: Context, node: Node, keepsSetuid: KeepsSetuid): void {
  const { inode } = node
  dropCapabilities(inode)
  if ((inode.mode & (S_ISUID | S_ISGID)) === 0) return
  const mode = withoutSetuid(inode.mode)
  if (mode === inode.mode || keepsSetuid()) return
  inode.mode = mode
  context.invalidateAttributes(node)
}

/** Drops privileges of a locked, activated inode whose owner or group changes. */
export function dropAllPrivileges(inode: Inode): void {
  if (isDirectory(inode)) return
  dropCapabilities(inode)
  const mode = withoutSetuid(inode.mode)
  if (mode !== inode.mode) inode.mode = mode
}

function withoutSetuid(mode: number): number {
  return mode & S_IXGRP ? mode & ~(S_ISUID | S_ISGID) : mode & ~S_ISUID
}

function dropCapabilities(inode: Inode): void {
  if (!inode.hasXattrs || !inode.xattrs.has(CAPABILITIES)) return
  const xattrs = new Map(inode.xattrs)
  xattrs.delete(CAPABILITIES)
  inode.xattrs = xattrs
}
