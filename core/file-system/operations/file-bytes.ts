/**
 * The bytes of one file, for operations that hold its node's lock (exclusively to change it) with the inode activated.
 * A change is followed by {@link finishChange}.
 */
import { BigFile } from '../../big-file/big-file.ts'
import { pushZeros, trimmedLength } from '../../bytes.ts'
import { chunkUp } from '../../big-file/chunks.ts'
import { INLINE_BYTES_MAX } from '../../tree/inode.ts'
import { ZBigFile } from '../../zblk/zbigfile.ts'
import { chain, type Awaitable } from '../../../store/awaitable.ts'
import { NO_BYTES } from '../../../store/bytes.ts'
import type { IntentChange } from '../commit/intent.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import type { KeepsSetuid } from '../operations.ts'
import { assertRegular, min, PERMISSIONS, setTimes, SIZE_MAX } from './attributes.ts'
import { dropPrivileges } from './privileges.ts'

/** Approximate memory of a written inode besides its data, in bytes. */
const WRITE_BYTES = 500

/** Up to `len` bytes from `off`, cut at the file's size. */
export function readBytes(
  node: Node,
  off: bigint,
  len: number,
  into?: Uint8Array,
): Awaitable<readonly Uint8Array[]> {
  const { size, data } = node.inode
  if (off < 0n) throw new ErrnoError('EINVAL')
  if (off >= size) return []
  const wanted = Math.min(len, Number(min(size - off, BigInt(len))))
  if (data !== undefined)
    return node.file === undefined
      ? open(node).then(file => file.read(off, wanted, into))
      : node.file.read(off, wanted, into)
  const { inlineData } = node.inode
  return inlineData === undefined ? zeros(wanted) : readInline(inlineData, Number(off), wanted, into)
}

export function writeBytes(node: Node, off: bigint, data: Uint8Array): Awaitable<void> {
  if (data.length === 0 || writeInline(node, off, data)) return
  const writing = chain(node.file ?? openToWrite(node), file => file.write(off, data))
  return chain(writing, () => {
    node.unstoredBytes += data.length
  })
}

/** Copies bytes of another locked node, sharing stored ones; the range starts and ends at chunk boundaries. Activates both inodes. */
export async function shareBytes(
  source: Node,
  from: bigint,
  target: Node,
  to: bigint,
  len: number,
): Promise<void> {
  await source.inode.activate()
  const { inlineData } = source.inode
  const shared = inlineData === undefined ? await open(source) : undefined
  await target.inode.activate()
  const file = await openToWrite(target)
  if (shared !== undefined) await file.share(shared, from, to, len)
  else if (inlineData !== undefined) {
    await file.zero(to, BigInt(len))
    if (from < inlineData.length) await file.write(to, inlineData.subarray(Number(from), Number(from) + len))
  }
  target.unstoredBytes += len
}

/** Makes a range read as zeros. */
export async function zeroBytes(node: Node, off: bigint, len: bigint): Promise<void> {
  if (node.inode.data === undefined) return zeroInline(node, off, off + len)
  const file = await open(node)
  await file.zero(off, len)
  node.unstoredBytes = Math.min(node.unstoredBytes, file.dirtyBytes)
}

/** The first offset `>= off` of data; undefined if there is none. */
export async function seekData(node: Node, off: bigint): Promise<bigint | undefined> {
  const { size, data } = node.inode
  if (off < 0n || off >= size) return undefined
  if (data === undefined) return off < inlineChunkBytes(node) ? off : undefined
  const found = await (await open(node)).seekData(off)
  return found === undefined || found >= size ? undefined : found
}

/** The first offset `>= off` of a hole, at most `upTo` or the end; undefined if `off` is beyond the end. */
export async function seekHole(node: Node, off: bigint, upTo: bigint): Promise<bigint | undefined> {
  const { size, data } = node.inode
  if (off < 0n || off >= size) return undefined
  if (data === undefined) return min(max(off, BigInt(inlineChunkBytes(node))), min(size, upTo))
  return await (await open(node)).seekHole(off, min(size, upTo))
}

/** Sets the size; the caller sets the times. @throws ErrnoError EFBIG, EINVAL, EISDIR */
export async function resize(context: Context, node: Node, size: bigint): Promise<void> {
  assertRegular(node.inode)
  assertRange(0n, size)
  if (size < node.inode.size && node.inode.data === undefined) zeroInline(node, size, node.inode.size)
  else if (size < node.inode.size) {
    const file = await open(node)
    await file.truncate(size)
    await node.inode.activate()
    node.unstoredBytes = Math.min(node.unstoredBytes, file.dirtyBytes)
  }
  node.inode.size = size
  context.fileChanged(node)
}

/** Completes a change of data up to `end`: size, times, privileges, and its intent, unless that is undefined. */
export function finishChange(
  context: Context,
  node: Node,
  end: bigint,
  keepsSetuid: KeepsSetuid,
  intent: IntentChange | undefined,
): Awaitable<void> {
  return chain(node.inode.activate(), () => finishActive(context, node, end, keepsSetuid, intent))
}

function finishActive(
  context: Context,
  node: Node,
  end: bigint,
  keepsSetuid: KeepsSetuid,
  intent: IntentChange | undefined,
): void {
  const { inode } = node
  if (end > inode.size) inode.size = end
  const timeNs = context.nowNs()
  const { mode } = inode
  setTimes(inode, timeNs, 'mtime', 'ctime')
  dropPrivileges(context, node, keepsSetuid)
  context.fileChanged(node)
  if (intent === undefined) return context.changed(node, WRITE_BYTES)
  context.changedAsIntended(node, WRITE_BYTES)
  context.intend(timeNs, intent)
  if (inode.mode !== mode)
    context.intend(timeNs, { kind: 'setattr', ino: node.ino, set: { mode: inode.mode & PERMISSIONS } })
}

/** @throws ErrnoError EINVAL, EFBIG */
export function assertRange(off: bigint, len: bigint): void {
  if (off < 0n || len < 0n) throw new ErrnoError('EINVAL')
  if (off + len > SIZE_MAX) throw new ErrnoError('EFBIG')
}

async function open(node: Node): Promise<BigFile> {
  if (node.file !== undefined) return node.file
  const { connection } = node.tree
  const { data, oid } = node.inode
  const object = data === undefined ? undefined : connection.resolve(data)
  if (!(object instanceof ZBigFile)) throw connection.corrupt(oid, 'the data of the file is not a ZBigFile')
  return attach(node, await BigFile.open(connection, object))
}

async function openToWrite(node: Node): Promise<BigFile> {
  if (node.inode.data !== undefined) return await open(node)
  const file = await BigFile.create(node.tree.connection)
  await node.inode.activate()
  const { inlineData } = node.inode
  node.noteGrowth(-inlineChunkBytes(node))
  node.inode.data = file.file.ref
  attach(node, file)
  if (inlineData !== undefined) await file.write(0n, inlineData)
  return file
}

// ---- data in the inode

/** Writes to a file whose data is in its inode, or absent, and fits into the inode. Returns false for other files. */
function writeInline(node: Node, off: bigint, data: Uint8Array): boolean {
  const end = off + BigInt(data.length)
  if (end > INLINE_BYTES_MAX || node.file !== undefined || node.tree.connection.zblkFormat !== 'auto')
    return false
  const { inode } = node
  if (inode.data !== undefined) return false
  const before = inode.inlineData ?? NO_BYTES
  const bytes = new Uint8Array(Math.max(before.length, Number(end)))
  bytes.set(before)
  bytes.set(data, Number(off))
  replaceInline(node, bytes)
  return true
}

/** Makes bytes `[lo, hi)` of data in the inode zeros. */
function zeroInline(node: Node, lo: bigint, hi: bigint): void {
  const { inlineData } = node.inode
  if (inlineData === undefined || lo >= inlineData.length) return
  replaceInline(
    node,
    Uint8Array.from(inlineData).fill(0, Number(lo), Number(min(hi, BigInt(inlineData.length)))),
  )
}

function replaceInline(node: Node, bytes: Uint8Array): void {
  const length = trimmedLength(bytes)
  node.noteGrowth(chunkUp(length) - inlineChunkBytes(node))
  node.inode.replaceData(length === 0 ? undefined : bytes.subarray(0, length))
}

/** The stored bytes of data in the inode, in whole chunks. */
const inlineChunkBytes = (node: Node): number => chunkUp(node.inode.inlineData?.length ?? 0)

function readInline(inline: Uint8Array, off: number, len: number, into?: Uint8Array): readonly Uint8Array[] {
  const bytes = (into ?? new Uint8Array(len)).subarray(0, len).fill(0)
  bytes.set(inline.subarray(off, off + len))
  return [bytes]
}

function attach(node: Node, file: BigFile): BigFile {
  file.onGrowth = bytes => node.noteGrowth(bytes)
  file.onEmptied = () => node.noteEmptied()
  node.file = file
  return file
}

const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)

function zeros(count: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  pushZeros(pieces, count)
  return pieces
}
