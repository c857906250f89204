/** Extended attributes. Those of POSIX ACLs (acl.ts) change the mode, and are refused unless the mount has ACLs. */
import type { Awaitable } from '../../../store/awaitable.ts'
import {
  type Inode,
  isDirectory,
  isRegular,
  isSymbolicLink,
  XATTR_NAME_MAX_BYTES,
  XATTR_VALUE_MAX_BYTES,
} from '../../tree/inode.ts'
import type { IntentChange } from '../commit/intent.ts'
import type { Context } from '../context.ts'
import { ATTRIBUTE_ABSENT, ErrnoError } from '../errno.ts'
import type { Ino } from '../operations.ts'
import { ACCESS_ACL, applyAccessAcl, checkAcl, DEFAULT_ACL, isAcl } from './acl.ts'
import { S_ISGID, setTimes } from './attributes.ts'

const XATTR_CREATE = 1
const XATTR_REPLACE = 2
/** Linux's limit for a list of names. */
const XATTR_LIST_MAX_BYTES = 65_536
/** Limit for all attributes of an inode: they are in its record, which every change of the inode rewrites. */
const XATTRS_MAX_BYTES = 262_144
const NAMESPACES = ['user.', 'trusted.', 'security.']

/** @throws ErrnoError ENODATA, EOPNOTSUPP */
export function getxattr(context: Context, ino: Ino, name: string): Awaitable<Uint8Array> {
  checkName(context, name)
  return context.look(ino, (_node, inode) => {
    const value = inode.hasXattrs ? inode.xattrs.get(name) : undefined
    if (value === undefined) throw ATTRIBUTE_ABSENT
    return value
  })
}

/** The names; those of the namespace `trusted` only if `seesTrusted`. */
export function listxattr(
  context: Context,
  ino: Ino,
  seesTrusted: () => boolean,
): Awaitable<readonly string[]> {
  return context.look(ino, (_node, inode) => {
    const names = [...inode.xattrs.keys()].filter(name => context.hasAcls || !isAcl(name))
    const isTrusted = (name: string): boolean => name.startsWith('trusted.')
    return names.some(isTrusted) && !seesTrusted() ? names.filter(name => !isTrusted(name)) : names
  })
}

/**
 * Sets an attribute. `dropsSetgid`: an access ACL drops setgid, as its caller may not keep it.
 * @throws ErrnoError EEXIST, ENODATA, E2BIG, ENOSPC, EPERM, ERANGE, EOPNOTSUPP
 */
export function setxattr(
  context: Context,
  ino: Ino,
  name: string,
  value: Uint8Array,
  flags: number,
  dropsSetgid = false,
): Awaitable<void> {
  checkName(context, name)
  if (value.length > XATTR_VALUE_MAX_BYTES) throw new ErrnoError('E2BIG')
  if (flags & ~(XATTR_CREATE | XATTR_REPLACE)) throw new ErrnoError('EINVAL')
  return change(context, ino, value.length, { kind: 'setxattr', ino, name, value }, (xattrs, inode) => {
    if (flags & XATTR_CREATE && xattrs.has(name)) throw new ErrnoError('EEXIST')
    if (flags & XATTR_REPLACE && !xattrs.has(name)) throw new ErrnoError('ENODATA')
    if (isAcl(name)) setAcl(xattrs, inode, name, value, dropsSetgid)
    else xattrs.set(name, value)
    assertWithinBounds(xattrs)
  })
}

/** @throws ErrnoError ENODATA, EPERM, EOPNOTSUPP */
export function removexattr(context: Context, ino: Ino, name: string): Awaitable<void> {
  checkName(context, name)
  return change(context, ino, 0, { kind: 'removexattr', ino, name }, xattrs => {
    if (!xattrs.delete(name) && !isAcl(name)) throw new ErrnoError('ENODATA')
  })
}

function change(
  context: Context,
  ino: Ino,
  bytes: number,
  intent: IntentChange & { readonly kind: 'setxattr' | 'removexattr' },
  changeXattrs: (xattrs: Map<string, Uint8Array>, inode: Inode) => void,
): Awaitable<void> {
  return context.change(ino, bytes, (node, inode) => {
    if (intent.name.startsWith('user.') && !isRegular(inode) && !isDirectory(inode))
      throw new ErrnoError('EPERM')
    const xattrs = new Map(inode.xattrs)
    changeXattrs(xattrs, inode)
    inode.xattrs = xattrs
    const timeNs = context.nowNs()
    setTimes(inode, timeNs, 'ctime')
    // An ACL changes the mode, and only a mount with ACLs could replay that.
    if (isAcl(intent.name)) return context.changed(node)
    context.changedAsIntended(node)
    context.intend(timeNs, intent)
  })
}

function checkName(context: Context, name: string): void {
  if (context.hasAcls && isAcl(name)) return
  if (name.length > XATTR_NAME_MAX_BYTES) throw new ErrnoError('ERANGE')
  const namespace = NAMESPACES.find(prefix => name.startsWith(prefix))
  if (namespace === undefined) throw new ErrnoError('EOPNOTSUPP')
  if (name === namespace) throw new ErrnoError('EINVAL')
}

/** @throws ErrnoError EINVAL, EACCES for a default ACL of what is not a directory, EOPNOTSUPP for a symbolic link. */
function setAcl(
  xattrs: Map<string, Uint8Array>,
  inode: Inode,
  name: string,
  value: Uint8Array,
  dropsSetgid: boolean,
): void {
  if (isSymbolicLink(inode)) throw new ErrnoError('EOPNOTSUPP')
  if (name === DEFAULT_ACL) {
    if (!isDirectory(inode)) throw new ErrnoError('EACCES')
    checkAcl(value)
    xattrs.set(DEFAULT_ACL, value)
    return
  }
  const { acl, mode } = applyAccessAcl(value, inode.mode)
  if (acl === undefined) xattrs.delete(ACCESS_ACL)
  else xattrs.set(ACCESS_ACL, acl)
  inode.mode = dropsSetgid ? mode & ~S_ISGID : mode
}

function assertWithinBounds(xattrs: ReadonlyMap<string, Uint8Array>): void {
  let names = 0
  let values = 0
  for (const [name, { length }] of xattrs) {
    names += name.length + 1
    values += length
  }
  if (names > XATTR_LIST_MAX_BYTES || names + values > XATTRS_MAX_BYTES) throw new ErrnoError('ENOSPC')
}
