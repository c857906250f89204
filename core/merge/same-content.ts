/** Whether inodes of two views have the same contents. */
import { constants } from 'node:fs'
import type { ByteRange } from '../history/file-difference.ts'
import { FileContent } from '../history/file-content.ts'
import type { MomentView } from '../history/moment-view.ts'
import { isRegular, type Inode } from '../tree/inode.ts'

const { S_IFLNK, S_IFMT } = constants

export const isSymlink = ({ mode }: Pick<Inode, 'mode'>): boolean => (mode & S_IFMT) === S_IFLNK

/** Whether two inodes are files with the same bytes, or equal symbolic links. */
export async function isSameInode(
  view: MomentView,
  inode: Inode,
  otherView: MomentView,
  other: Inode,
): Promise<boolean> {
  if (isSymlink(inode) && isSymlink(other)) return Buffer.compare(inode.target, other.target) === 0
  return isRegular(inode) && isRegular(other) && (await isSameContent(view, inode, otherView, other))
}

/** Whether two files have the same bytes; reads both as far as they are equal. */
export const isSameContent = async (
  view: MomentView,
  inode: Inode,
  otherView: MomentView,
  other: Inode,
): Promise<boolean> =>
  inode.size === other.size &&
  (await isSameRange([view, inode], [otherView, other], { lo: 0n, hi: inode.size }))

/** Whether two files have the same bytes in a range; where one has ended, so has the other. */
export async function isSameRange(
  one: readonly [MomentView, Inode],
  other: readonly [MomentView, Inode],
  range: ByteRange,
): Promise<boolean> {
  const [first, second] = [bytesOf(...one, range), bytesOf(...other, range)]
  let [a, b] = [new Uint8Array(), new Uint8Array()]
  for (;;) {
    if (a.length === 0) a = Uint8Array.from((await first.next()).value ?? [])
    if (b.length === 0) b = Uint8Array.from((await second.next()).value ?? [])
    const length = Math.min(a.length, b.length)
    if (length === 0) return a.length === b.length
    if (Buffer.compare(a.subarray(0, length), b.subarray(0, length)) !== 0) return false
    a = a.subarray(length)
    b = b.subarray(length)
  }
}

async function* bytesOf(
  view: MomentView,
  inode: Inode,
  { lo, hi }: ByteRange,
): AsyncGenerator<Uint8Array, undefined> {
  for await (const piece of (await FileContent.of(view, inode)).pieces(lo, hi))
    if (piece.length > 0) yield piece
  return undefined
}
