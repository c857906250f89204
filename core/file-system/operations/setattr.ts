/** Attributes and extended attributes of inodes, and where links lead. */
import { constants } from 'node:fs'
import type { Inode } from '../../tree/inode.ts'
import { ErrnoError } from '../errno.ts'
import type { AttributeChanges, Attributes, Ino } from '../operations.ts'
import { attributesOf, dropCapabilities, isDirectory, isRegular, setTimes, typeOf } from './attributes.ts'
import { SMALL_CHANGE_BYTES, type Context } from '../context.ts'
import { dropPrivileges, type FileData } from './io.ts'
import type { Node } from '../inodes/node.ts'

const PERMISSIONS = 0o7777
const XATTR_CREATE = 1
const XATTR_REPLACE = 2
/** Linux's limits for one attribute, and its limit for a list of names. */
const XATTR_NAME_MAX_BYTES = 255
const XATTR_VALUE_MAX_BYTES = 65_536
const XATTR_LIST_MAX_BYTES = 65_536
/** All of an inode's attributes are in its record, which every change of it writes anew. */
const XATTRS_MAX_BYTES = 262_144
const NAMESPACES = ['user.', 'trusted.', 'security.']

export class Metadata {
  readonly #context: Context
  readonly #data: FileData

  constructor(context: Context, data: FileData) {
    this.#context = context
    this.#data = data
  }

  getattr(ino: Ino): Promise<Attributes> {
    return this.#context.look(ino, attributesOf)
  }

  /** Who may do it is the kernel's to check. @throws ErrnoError EISDIR, EINVAL, EFBIG for sizes. */
  setattr(ino: Ino, changes: AttributeChanges): Promise<Attributes> {
    const dataBytes = changes.size === undefined ? 0 : SMALL_CHANGE_BYTES
    return this.#context.change(ino, dataBytes, async (node, inode) => {
      const nowNs = this.#context.nowNs()
      if (changes.size !== undefined) {
        await this.#data.resize(node, changes.size)
        await inode.activate()
        setTimes(inode, nowNs, 'mtime')
        dropCapabilities(inode)
      }
      this.#setOwner(inode, changes)
      if (changes.mode !== undefined) inode.mode = typeOf(inode) | (changes.mode & PERMISSIONS)
      const { atimeNs, mtimeNs, ctimeNs } = changes
      if (atimeNs !== undefined) inode.setTime('atime', atimeNs === 'now' ? nowNs : atimeNs)
      if (mtimeNs !== undefined) inode.setTime('mtime', mtimeNs === 'now' ? nowNs : mtimeNs)
      inode.setTime('ctime', ctimeNs ?? nowNs)
      this.#context.changed(node)
      return attributesOf(node)
    })
  }

  /** @throws ErrnoError EINVAL where it is no symbolic link. */
  readlink(ino: Ino): Promise<Uint8Array> {
    return this.#context.look(ino, (node, inode) => {
      if (typeOf(inode) !== constants.S_IFLNK) throw new ErrnoError('EINVAL')
      this.#data.noteAccess(node, inode)
      return inode.target
    })
  }

  /** @throws ErrnoError ENODATA, EOPNOTSUPP */
  getxattr(ino: Ino, name: string): Promise<Uint8Array> {
    checkXattrName(name)
    return this.#context.look(ino, (_node, inode) => {
      const value = inode.xattrs.get(name)
      if (value === undefined) throw new ErrnoError('ENODATA')
      return value
    })
  }

  listxattr(ino: Ino): Promise<readonly string[]> {
    return this.#context.look(ino, (_node, inode) => [...inode.xattrs.keys()])
  }

  /** @throws ErrnoError EEXIST, ENODATA, E2BIG, ENOSPC, EPERM, ERANGE, EOPNOTSUPP */
  setxattr(ino: Ino, name: string, value: Uint8Array, flags: number): Promise<void> {
    checkXattrName(name)
    if (value.length > XATTR_VALUE_MAX_BYTES) throw new ErrnoError('E2BIG')
    if (flags & ~(XATTR_CREATE | XATTR_REPLACE)) throw new ErrnoError('EINVAL')
    return this.#changeXattrs(ino, name, xattrs => {
      if (flags & XATTR_CREATE && xattrs.has(name)) throw new ErrnoError('EEXIST')
      if (flags & XATTR_REPLACE && !xattrs.has(name)) throw new ErrnoError('ENODATA')
      xattrs.set(name, value)
      assertRoomForXattrs(xattrs)
    })
  }

  /** @throws ErrnoError ENODATA, EPERM, EOPNOTSUPP */
  removexattr(ino: Ino, name: string): Promise<void> {
    checkXattrName(name)
    return this.#changeXattrs(ino, name, xattrs => {
      if (!xattrs.delete(name)) throw new ErrnoError('ENODATA')
    })
  }

  /** Who gives a file away gives no privileges with it. */
  #setOwner(inode: Inode, { uid, gid, killSuidgid }: AttributeChanges): void {
    if (uid !== undefined) inode.uid = uid
    if (gid !== undefined) inode.gid = gid
    if (uid === undefined && gid === undefined && killSuidgid !== true) return
    if (isDirectory(inode)) return
    dropPrivileges(inode)
    dropCapabilities(inode)
  }

  #changeXattrs(ino: Ino, name: string, change: (xattrs: Map<string, Uint8Array>) => void): Promise<void> {
    return this.#context.change(ino, 0, (node: Node, inode: Inode) => {
      if (name.startsWith('user.') && !isRegular(inode) && !isDirectory(inode)) throw new ErrnoError('EPERM')
      const xattrs = new Map(inode.xattrs)
      change(xattrs)
      inode.xattrs = xattrs
      setTimes(inode, this.#context.nowNs(), 'ctime')
      this.#context.changed(node)
    })
  }
}

/** POSIX ACLs (system.posix_acl_*) are not kept: permissions are the mode's. */
function checkXattrName(name: string): void {
  if (name.length > XATTR_NAME_MAX_BYTES) throw new ErrnoError('ERANGE')
  const namespace = NAMESPACES.find(prefix => name.startsWith(prefix))
  if (namespace === undefined) throw new ErrnoError('EOPNOTSUPP')
  if (name === namespace) throw new ErrnoError('EINVAL')
}

function assertRoomForXattrs(xattrs: ReadonlyMap<string, Uint8Array>): void {
  let names = 0
  let values = 0
  for (const [name, { length }] of xattrs) {
    names += name.length + 1
    values += length
  }
  if (names > XATTR_LIST_MAX_BYTES || names + values > XATTRS_MAX_BYTES) throw new ErrnoError('ENOSPC')
}
