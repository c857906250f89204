/** What the kernel is told of an inode, and small rules about modes and times that many operations share. */
import { constants } from 'node:fs'
import type { Inode, TimeKey } from '../../tree/inode.ts'
import { ErrnoError } from '../errno.ts'
import type { Attributes, Entry, Name } from '../operations.ts'
import type { Node } from '../inodes/node.ts'

const { S_IFMT, S_IFDIR, S_IFREG, S_IFLNK } = constants
export const S_ISUID = 0o4000
export const S_ISGID = 0o2000
const S_IXGRP = 0o0010

/** What programs are told to read and write at a time: large enough to be worth a request, small enough to waste. */
const BLKSIZE = 65_536
const STAT_BLOCK_BYTES = 512
const NAME_MAX_BYTES = 255
const DAY_NS = 86_400_000_000_000n

/**
 * How long the kernel may remember. Names and data change through this kernel alone, which keeps track of them;
 * attributes also change by themselves (what is stored, times of access).
 */
export const ENTRY_TIMEOUT_MS = 60_000
const ATTRIBUTES_TIMEOUT_MS = 1000
/** The past does not change. */
const PAST_TIMEOUT_MS = 3_600_000

/** The largest offset that a file may have a byte before. */
export const SIZE_MAX = 0x7fff_ffff_ffff_ffffn

export const typeOf = (inode: Inode): number => inode.mode & S_IFMT
export const isDirectory = (inode: Inode): boolean => typeOf(inode) === S_IFDIR
export const isRegular = (inode: Inode): boolean => typeOf(inode) === S_IFREG

/** @throws ErrnoError ENOTDIR */
export function assertDirectory(inode: Inode): void {
  if (!isDirectory(inode)) throw new ErrnoError('ENOTDIR')
}

/** @throws ErrnoError EISDIR, EINVAL */
export function assertRegular(inode: Inode): void {
  if (isDirectory(inode)) throw new ErrnoError('EISDIR')
  if (!isRegular(inode)) throw new ErrnoError('EINVAL', 'it is not a regular file')
}

/** A name that a new entry may have. @throws ErrnoError ENAMETOOLONG, EINVAL, EEXIST */
export function checkNewName(name: Name): void {
  checkName(name)
  if (name === '.' || name === '..') throw new ErrnoError('EEXIST')
}

/** @throws ErrnoError ENAMETOOLONG, EINVAL */
export function checkName(name: Name): void {
  if (name.length > NAME_MAX_BYTES) throw new ErrnoError('ENAMETOOLONG')
  if (name === '' || name.includes('/') || name.includes('\0')) throw new ErrnoError('EINVAL')
}

/** A node whose inode is activated. */
export function attributesOf({ ino, inode, unstoredBytes }: Node): Attributes {
  const { stored } = inode
  const storedSoon = Math.max(stored, Math.min(stored + unstoredBytes, Number(inode.size)))
  return {
    ino,
    mode: inode.mode,
    nlink: inode.nlink,
    uid: inode.uid,
    gid: inode.gid,
    rdev: inode.rdev,
    size: typeOf(inode) === S_IFLNK ? BigInt(inode.target.length) : inode.size,
    blocks: Math.ceil(storedSoon / STAT_BLOCK_BYTES),
    blksize: BLKSIZE,
    atimeNs: inode.time('atime'),
    mtimeNs: inode.time('mtime'),
    ctimeNs: inode.time('ctime'),
    birthtimeNs: inode.time('birthtime'),
  }
}

/** A node whose inode is activated, handed to the kernel, which holds one reference more from now on. */
export function entryOf(node: Node): Entry {
  const { readOnly, generation } = node.tree
  const attributes = attributesOf(node)
  const { nlink } = attributes
  node.lookups++
  return {
    attributes,
    generation,
    // Of several names one is remembered here, by which the kernel can be told to forget it.
    entryTimeoutMs: readOnly
      ? PAST_TIMEOUT_MS
      : nlink > 1 && !isDirectory(node.inode)
        ? ATTRIBUTES_TIMEOUT_MS
        : ENTRY_TIMEOUT_MS,
    attributesTimeoutMs: readOnly ? PAST_TIMEOUT_MS : ATTRIBUTES_TIMEOUT_MS,
  }
}

/** Sets times to the same moment. */
export function setTimes(inode: Inode, timeNs: bigint, ...keys: readonly TimeKey[]): void {
  for (const key of keys) inode.setTime(key, timeNs)
}

/** Whether a read is to be noted: the first since a change, or since a day ago (Linux's relatime). */
export function isAccessTimeDue(inode: Inode, nowNs: bigint): boolean {
  const atimeNs = inode.time('atime')
  return atimeNs <= inode.time('mtime') || atimeNs <= inode.time('ctime') || nowNs - atimeNs >= DAY_NS
}

/** A mode after its file was given away or written to by others: no setuid, and no setgid that grants a group. */
export function withoutPrivileges(mode: number): number {
  return mode & S_IXGRP ? mode & ~(S_ISUID | S_ISGID) : mode & ~S_ISUID
}

/** File capabilities do not survive a change of the file. */
export function dropCapabilities(inode: Inode): void {
  if (!inode.hasXattrs || !inode.xattrs.has('security.capability')) return
  const xattrs = new Map(inode.xattrs)
  xattrs.delete('security.capability')
  inode.xattrs = xattrs
}
