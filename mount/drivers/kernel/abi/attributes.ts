/**
 * The encoding of an inode for the kernel.
 *
 * | at | struct fuse_attr (88 bytes)         | | at | struct fuse_entry_out (128 bytes)    |
 * |----|-------------------------------------|-|----|--------------------------------------|
 * | 0  | u64 ino, size, blocks               | | 0  | u64 nodeid, generation               |
 * | 24 | u64 atime, mtime, ctime             | | 16 | u64 entry_valid, attr_valid          |
 * | 48 | u32 atimensec, mtimensec, ctimensec | | 32 | u32 entry_valid_nsec, attr_valid_nsec|
 * | 60 | u32 mode, nlink, uid, gid           | | 40 | fuse_attr                            |
 * | 76 | u32 rdev, blksize, flags            | |    |                                      |
 *
 * fuse_attr_out (104 bytes): u64 attr_valid, u32 attr_valid_nsec, u32 dummy, fuse_attr.
 * fuse_statx_out (288 bytes): u64 attr_valid, u32 attr_valid_nsec, u32 flags, 16 spare bytes, then struct statx of statx(2).
 * Source: linux/fuse.h, since 7.39 for statx.
 */
import type { Attributes, Entry, Validity } from '../../../../core/file-system/operations.ts'
import { setTimeout64, setU64, splitTime } from './fields.ts'

const ATTR_OUT_BYTES = 104
export const ENTRY_OUT_BYTES = 128
const STATX_OUT_BYTES = 288

/** A year. */
const UNLIMITED_MS = 31_536_000_000

/** How long the kernel may cache names and attributes. Changes through this kernel take effect at once. */
const VALID_MS: Readonly<Record<Validity, number>> = {
  forever: UNLIMITED_MS,
  'until changed': UNLIMITED_MS,
  never: 0,
  momentarily: 10,
  briefly: 1000,
}

/** STATX_BASIC_STATS | STATX_BTIME. */
const STATX_FIELDS = 0xfff

function setAttributes(view: DataView, at: number, attributes: Attributes): void {
  const { atimeNs, mtimeNs, ctimeNs } = attributes
  setU64(view, at, attributes.ino)
  view.setBigUint64(at + 8, attributes.size, true)
  setU64(view, at + 16, attributes.blocks)
  setSplitTime(view, at + 24, at + 48, atimeNs)
  setSplitTime(view, at + 32, at + 52, mtimeNs)
  setSplitTime(view, at + 40, at + 56, ctimeNs)
  view.setUint32(at + 60, attributes.mode, true)
  view.setUint32(at + 64, attributes.nlink, true)
  view.setUint32(at + 68, attributes.uid, true)
  view.setUint32(at + 72, attributes.gid, true)
  view.setUint32(at + 76, attributes.rdev, true)
  view.setUint32(at + 80, attributes.blksize, true)
  view.setUint32(at + 84, 0, true)
}

function setSplitTime(view: DataView, secondsAt: number, nanosecondsAt: number, ns: bigint): void {
  const { seconds, nanoseconds } = splitTime(ns)
  view.setBigInt64(secondsAt, seconds, true)
  view.setUint32(nanosecondsAt, nanoseconds, true)
}

/** Writes a fuse_attr_out; returns its length. */
export function writeAttributes(view: DataView, at: number, attributes: Attributes): number {
  setTimeout64(view, at, at + 8, VALID_MS[attributes.validity])
  view.setUint32(at + 12, 0, true)
  setAttributes(view, at + 16, attributes)
  return ATTR_OUT_BYTES
}

/** Writes a fuse_entry_out; returns its length. */
export function writeEntry(view: DataView, at: number, entry: Entry): number {
  setU64(view, at, entry.attributes.ino)
  setU64(view, at + 8, entry.generation)
  setTimeout64(view, at + 16, at + 32, VALID_MS[entry.nameValidity])
  setTimeout64(view, at + 24, at + 36, VALID_MS[entry.attributes.validity])
  setAttributes(view, at + 40, entry.attributes)
  return ENTRY_OUT_BYTES
}

/** Writes a fuse_entry_out for a name that does not exist, to be cached until it is invalidated; returns its length. */
export function writeAbsence(view: DataView, at: number): number {
  new Uint8Array(view.buffer, view.byteOffset + at, ENTRY_OUT_BYTES).fill(0)
  setTimeout64(view, at + 16, at + 32, VALID_MS['until changed'])
  return ENTRY_OUT_BYTES
}

/** Writes a fuse_statx_out with the basic fields and the time of birth; returns its length. */
export function writeStatx(view: DataView, at: number, attributes: Attributes): number {
  new Uint8Array(view.buffer, view.byteOffset + at, STATX_OUT_BYTES).fill(0)
  setTimeout64(view, at, at + 8, VALID_MS[attributes.validity])
  const stat = at + 32
  view.setUint32(stat, STATX_FIELDS, true)
  view.setUint32(stat + 4, attributes.blksize, true)
  view.setUint32(stat + 16, attributes.nlink, true)
  view.setUint32(stat + 20, attributes.uid, true)
  view.setUint32(stat + 24, attributes.gid, true)
  view.setUint16(stat + 28, attributes.mode, true)
  setU64(view, stat + 32, attributes.ino)
  view.setBigUint64(stat + 40, attributes.size, true)
  setU64(view, stat + 48, attributes.blocks)
  const times = [attributes.atimeNs, attributes.birthtimeNs, attributes.ctimeNs, attributes.mtimeNs]
  for (const [index, ns] of times.entries())
    setSplitTime(view, stat + 64 + index * 16, stat + 72 + index * 16, ns)
  // The kernel's 32-bit device number: the minor's low byte, the major's 12 bits, the rest of the minor.
  view.setUint32(stat + 128, (attributes.rdev >>> 8) & 0xfff, true)
  view.setUint32(stat + 132, (attributes.rdev & 0xff) | ((attributes.rdev >>> 12) & 0xfff00), true)
  return STATX_OUT_BYTES
}
