/** mknod, mkdir, symlink, and open with O_CREAT: new inodes with a name. */
import { constants } from 'node:fs'
import { Directory } from '../../tree/directory.ts'
import { isDirectory, Inode, isSymbolicLink, TARGET_MAX_BYTES } from '../../tree/inode.ts'
import type { Oid } from '../../../store/ids.ts'
import type { IntentChange } from '../commit/intent.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import type { Caller, Entry, Ino, Name } from '../operations.ts'
import { assertDirectory, checkNewName, entryOf, PERMISSIONS, S_ISGID } from './attributes.ts'
import { ACCESS_ACL, DEFAULT_ACL, inheritAcl } from './acl.ts'
import { enterName, findExisting } from './entries.ts'
import { enterFound } from './lookup.ts'

const { S_IFMT, S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFBLK, S_IFCHR } = constants
const NODE_TYPES: readonly number[] = [S_IFREG, S_IFIFO, S_IFSOCK, S_IFBLK, S_IFCHR]
/** Approximate memory of a new inode and its entry until they are serialised, in bytes, without name and target. */
export const CREATION_BYTES = 4000

interface NewEntry {
  readonly mode: number
  readonly rdev?: number
  readonly target?: Uint8Array
  /** If the name exists: return its inode instead of EEXIST. */
  readonly orExisting?: boolean
  /** The number that it had before a crash. */
  readonly oid?: Oid
}

/** The entry of a name, and whether it was made now. */
export interface Created {
  readonly entry: Entry
  readonly isNew: boolean
}

export async function mkdir(
  context: Context,
  parent: Ino,
  name: Name,
  mode: number,
  caller: Caller,
): Promise<Entry> {
  const wanted = { mode: S_IFDIR | (mode & PERMISSIONS) }
  return (await create(context, parent, name, wanted, caller)).entry
}

/** @throws ErrnoError EINVAL for any other type. */
export async function mknod(
  context: Context,
  parent: Ino,
  name: Name,
  mode: number,
  rdev: number,
  caller: Caller,
): Promise<Entry> {
  const type = mode & S_IFMT || S_IFREG
  if (!NODE_TYPES.includes(type)) throw new ErrnoError('EINVAL')
  const isDevice = type === S_IFBLK || type === S_IFCHR
  const wanted = { mode: type | (mode & PERMISSIONS), rdev: isDevice ? rdev : 0 }
  return (await create(context, parent, name, wanted, caller)).entry
}

export async function symlink(
  context: Context,
  parent: Ino,
  name: Name,
  target: Uint8Array,
  caller: Caller,
): Promise<Entry> {
  if (target.length === 0) throw new ErrnoError('ENOENT', 'the target of a symbolic link is empty')
  if (target.length > TARGET_MAX_BYTES) throw new ErrnoError('ENAMETOOLONG')
  return (await create(context, parent, name, { mode: S_IFLNK | 0o777, target }, caller)).entry
}

/** A regular file; with `orExisting` the inode that has the name already. @throws ErrnoError EEXIST */
export function createFile(
  context: Context,
  parent: Ino,
  name: Name,
  mode: number,
  caller: Caller,
  orExisting: boolean,
): Promise<Created> {
  return create(context, parent, name, { mode: S_IFREG | (mode & PERMISSIONS), orExisting }, caller)
}

/** Creates an inode again after a crash, with the number that it had. */
export async function createAgain(
  context: Context,
  intent: IntentChange & { readonly kind: 'create' },
): Promise<Entry> {
  const { parent, name, ino, mode, rdev, uid, gid } = intent
  const target = intent.target.length > 0 ? { target: Buffer.from(intent.target) } : {}
  const wanted = { mode, rdev, oid: context.live.oidOf(ino), ...target }
  return (await create(context, parent, name, wanted, { uid, gid, pid: 0 })).entry
}

function create(
  context: Context,
  parent: Ino,
  name: Name,
  wanted: NewEntry,
  caller: Caller,
): Promise<Created> {
  checkNewName(name)
  return context.changeNames([parent], async (...[directory]) => {
    if (directory === undefined) throw new ErrnoError('EINVAL')
    return await context.lockAll([directory], async () => {
      const existing = await findExisting(directory, name)
      if (existing !== undefined) {
        if (wanted.orExisting !== true) throw new ErrnoError('EEXIST')
        return { entry: await enterFound(context, directory, name, existing), isNew: false }
      }
      const timeNs = context.nowNs()
      const inode = await newInode(context, directory, wanted, caller, timeNs)
      inode.named(directory.inode.ref, name)
      await enterName(context, directory, name, inode, timeNs)
      if (isDirectory(inode)) directory.inode.nlink++
      context.bookkeeping.created()
      const node = context.hold(directory.tree.node(inode.oid))
      node.name = { parent: directory.oid, name }
      context.changedAsIntended(node, CREATION_BYTES + 2 * name.length)
      try {
        await inode.activate()
        // Only a mount with ACLs could let it inherit them again.
        if (inode.hasXattrs) context.changed(node, 0)
        else intendCreation(context, parent, name, node, timeNs)
        return { entry: entryOf(node), isNew: true }
      } finally {
        context.leave(node)
      }
    })
  })
}

function intendCreation(context: Context, parent: Ino, name: Name, node: Node, timeNs: bigint): void {
  const { mode, uid, gid, rdev, target } = node.inode
  context.intend(timeNs, { kind: 'create', parent, name, ino: node.ino, mode, uid, gid, rdev, target })
}

/** A new inode without a name, and its node, held by the caller. */
export async function createUnnamed(
  context: Context,
  directory: Node,
  mode: number,
  caller: Caller,
): Promise<Node> {
  assertDirectory(directory.inode)
  const inode = await newInode(
    context,
    directory,
    { mode: S_IFREG | (mode & PERMISSIONS) },
    caller,
    context.nowNs(),
  )
  inode.nlink = 0
  context.bookkeeping.created()
  const node = context.hold(directory.tree.node(inode.oid))
  node.isLinkable = true
  context.bookkeeping.orphaned(node)
  context.changed(node, CREATION_BYTES)
  return node
}

/** The inode of a new entry, without its name. */
export async function newInode(
  context: Context,
  directory: Node,
  { mode: wantedMode, rdev = 0, target, oid }: NewEntry,
  { uid, gid, umask }: Caller,
  timeNs: bigint,
): Promise<Inode> {
  const { tree, inode: parent } = directory
  const inherits = (parent.mode & S_ISGID) !== 0
  const parentGid = parent.gid
  const isDirectoryWanted = isDirectory({ mode: wantedMode })
  const { mode, xattrs } = permissionsOf(context, parent, wantedMode, umask)
  const inode = await Inode.create(tree.connection, {
    mode: inherits && isDirectoryWanted ? mode | S_ISGID : mode,
    uid,
    gid: inherits ? parentGid : gid,
    nlink: isDirectoryWanted ? 2 : 1,
    rdev,
    timeNs,
    oid,
  })
  if (xattrs !== undefined) inode.xattrs = xattrs
  if (target !== undefined) inode.target = target
  if (isDirectoryWanted) await Directory.create(tree.connection, inode, parent)
  return inode
}

/** The mode and the ACLs of a new inode: by the default ACL of its directory, or by the umask if there is none. */
function permissionsOf(
  context: Context,
  parent: Inode,
  mode: number,
  umask = 0,
): { readonly mode: number; readonly xattrs?: ReadonlyMap<string, Uint8Array> } {
  if (isSymbolicLink({ mode })) return { mode }
  const defaultAcl = context.hasAcls && parent.hasXattrs ? parent.xattrs.get(DEFAULT_ACL) : undefined
  if (defaultAcl === undefined) return { mode: mode & ~umask }
  const { acl, mode: allowed } = inheritAcl(defaultAcl, mode)
  const xattrs = new Map<string, Uint8Array>()
  if (acl !== undefined) xattrs.set(ACCESS_ACL, acl)
  if (isDirectory({ mode })) xattrs.set(DEFAULT_ACL, defaultAcl)
  return { mode: allowed, ...(xattrs.size > 0 && { xattrs }) }
}
