/** The attributes of an inode, and rules about types, names and times shared by many operations. */
import { constants } from 'node:fs'
import { typeOf, isDirectory, isRegular, type Inode, type TimeKey } from '../../tree/inode.ts'
import { ErrnoError } from '../errno.ts'
import { DOT, DOT_DOT, type Attributes, type Entry, type Name } from '../operations.ts'
import type { Node } from '../inodes/tree.ts'

const { S_IFLNK } = constants
export const S_ISUID = 0o4000
export const S_ISGID = 0o2000
export const PERMISSIONS = 0o7777

/** st_blksize: large enough for efficient requests, small enough for buffers. */
const BLKSIZE = 65_536
const STAT_BLOCK_BYTES = 512
const NAME_MAX_BYTES = 255

/** Maximum size of a file. */
export const SIZE_MAX = 0x7fff_ffff_ffff_ffffn

/** @throws ErrnoError ENOTDIR */
export function assertDirectory(inode: Inode): void {
  if (!isDirectory(inode)) throw new ErrnoError('ENOTDIR')
}

/** @throws ErrnoError EISDIR, EINVAL */
export function assertRegular(inode: Inode): void {
  if (isDirectory(inode)) throw new ErrnoError('EISDIR')
  if (!isRegular(inode)) throw new ErrnoError('EINVAL', 'not a regular file')
}

/** Checks a name for a new entry. @throws ErrnoError ENAMETOOLONG, EINVAL, EEXIST */
export function checkNewName(name: Name): void {
  checkName(name)
  if (name === DOT || name === DOT_DOT) throw new ErrnoError('EEXIST')
}

/** @throws ErrnoError ENAMETOOLONG, EINVAL */
export function checkName(name: Name): void {
  if (name.length > NAME_MAX_BYTES) throw new ErrnoError('ENAMETOOLONG')
  if (name === '' || name.includes('/') || name.includes('\0')) throw new ErrnoError('EINVAL')
}

/** The access time of an activated inode, stored or not. */
export function accessTimeOf({ tree, oid, inode }: Node): bigint {
  return tree.accessTimes.get(oid) ?? inode.time('atime')
}

/** The attributes of an activated inode. */
export function attributesOf(node: Node): Attributes {
  const { ino, inode } = node
  return {
    ino,
    mode: inode.mode,
    nlink: inode.nlink,
    uid: inode.uid,
    gid: inode.gid,
    rdev: inode.rdev,
    size: typeOf(inode) === S_IFLNK ? BigInt(inode.target.length) : inode.size,
    blocks: Math.ceil(storedSoon(node) / STAT_BLOCK_BYTES),
    blksize: BLKSIZE,
    atimeNs: accessTimeOf(node),
    mtimeNs: inode.time('mtime'),
    ctimeNs: inode.time('ctime'),
    birthtimeNs: inode.time('birthtime'),
    // A commit settles the stored size; other changes are made by requests of the kernel, or invalidated.
    validity: validityOf(node),
  }
}

function validityOf(node: Node): Attributes['validity'] {
  if (node.tree.readOnly) return 'forever'
  if (mayFillHoles(node)) return 'never'
  return isUnsettled(node) ? 'briefly' : 'until changed'
}

/** The bytes that are stored, or will be by the next commit. */
function storedSoon(node: Node): number {
  const { inode, unstoredBytes } = node
  const stored = Math.max(0, node.grown(inode.stored))
  return Math.max(stored, Math.min(stored + unstoredBytes, Number(inode.size)))
}

/** Whether the kernel may have pages of a shared mapping that fill holes of an activated inode: st_blocks counts them. */
export const mayFillHoles = (node: Node): boolean =>
  node.mappableHandles > 0 && storedSoon(node) < Number(node.inode.size)

/** Whether the next commit changes the stored size. */
const isUnsettled = (node: Node): boolean => node.unstoredBytes > 0 || node.hasGrowth

/** The entry of an activated inode. Adds one reference to the inode. */
export function entryOf(node: Node): Entry {
  const { number, generation } = node.tree
  const isPast = number !== 0
  const attributes = attributesOf(node)
  node.refer()
  // A node records only one of its names, so only that one can be invalidated.
  const hasSeveralNames = attributes.nlink > 1 && !isDirectory(node.inode)
  if (hasSeveralNames) node.hadSeveralNames = true
  return {
    attributes,
    generation,
    // A read-only mount may follow another process: only the past is fixed.
    nameValidity: isPast ? 'forever' : hasSeveralNames ? 'briefly' : 'until changed',
  }
}

/** Activates all nodes together: when it resolves, all can be used until the next turn. */
export async function activateAll(nodes: readonly Node[]): Promise<void> {
  for (;;) {
    const loading: Promise<void>[] = []
    for (const { inode } of nodes) {
      const one = inode.activate()
      if (one !== undefined) loading.push(one)
    }
    if (loading.length === 0) return
    // Some may become ghosts while others are loaded.
    await Promise.all(loading)
  }
}

/** Sets times to the same moment. */
export function setTimes(inode: Inode, timeNs: bigint, ...keys: readonly TimeKey[]): void {
  for (const key of keys) inode.setTime(key, timeNs)
}

export const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)
