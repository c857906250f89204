/**
 * Directory entries: fuse_dirent (u64 ino, u64 off, u32 namelen, u32 type, name, padded to 8 bytes), and
 * fuse_direntplus, which has a fuse_entry_out before it. Source: linux/fuse.h.
 */
import { constants } from 'node:fs'
import type { DirectoryEntry, Entry } from '../../../../core/file-system/operations.ts'
import { ENTRY_OUT_BYTES, writeEntry } from './attributes.ts'
import { setU64 } from './fields.ts'

const DIRENT_HEADER_BYTES = 24

/** Length of an entry in bytes, for readdir or readdirplus. */
export const directoryEntryBytes = (entry: DirectoryEntry, plus: boolean): number =>
  (plus ? ENTRY_OUT_BYTES : 0) + ((DIRENT_HEADER_BYTES + entry.name.length + 7) & ~7)

/** The number of shortest entries that fit into `bytes`. */
export const directoryEntriesIn = (bytes: number, plus: boolean): number =>
  Math.max(1, Math.floor(bytes / ((plus ? ENTRY_OUT_BYTES : 0) + DIRENT_HEADER_BYTES + 8)))

/** Writes a fuse_dirent; returns its length. */
export function writeDirectoryEntry(
  bytes: Buffer,
  view: DataView,
  at: number,
  entry: DirectoryEntry,
): number {
  setU64(view, at, entry.ino)
  view.setBigUint64(at + 8, entry.cookie, true)
  view.setUint32(at + 16, entry.name.length, true)
  view.setUint32(at + 20, (entry.type & constants.S_IFMT) >>> 12, true)
  const length = directoryEntryBytes(entry, false)
  const nameEnd = at + DIRENT_HEADER_BYTES + bytes.write(entry.name, at + DIRENT_HEADER_BYTES, 'latin1')
  bytes.fill(0, nameEnd, at + length)
  return length
}

/** Writes a fuse_direntplus; returns its length. Without `found` the kernel gets only the name. */
export function writeDirectoryEntryPlus(
  bytes: Buffer,
  view: DataView,
  at: number,
  entry: DirectoryEntry,
  found: Entry | undefined,
): number {
  if (found) writeEntry(view, at, found)
  else bytes.fill(0, at, at + ENTRY_OUT_BYTES)
  return ENTRY_OUT_BYTES + writeDirectoryEntry(bytes, view, at + ENTRY_OUT_BYTES, entry)
}
