/** read(2) and write(2). */
import { ObjectNotFoundError } from '../../../store/errors.ts'
import type { PastWrite } from '../commit/write-intents.ts'
import type { Context } from '../context.ts'
import type { Node } from '../inodes/tree.ts'
import type { Fh, Ino, KeepsSetuid } from '../operations.ts'
import { noteAccess } from './access-time.ts'
import { assertRegular } from './attributes.ts'
import { assertRange, finishWrite, readBytes, writeBytes } from './file-bytes.ts'

/** Approximate memory of a written inode besides its data, in bytes. */
const WRITE_BYTES = 500

/** @throws ErrnoError EISDIR, EINVAL */
export function read(
  context: Context,
  ino: Ino,
  fh: Fh,
  off: bigint,
  len: number,
  into?: Uint8Array,
): Promise<readonly Uint8Array[]> {
  return context.read(ino, async (node, inode) => {
    assertRegular(inode)
    if (!context.handles.ignoresAccess(fh)) noteAccess(context, node)
    return await readBytes(node, off, len, into)
  })
}

/** Writes all of `data`. @throws ErrnoError EFBIG, EINVAL, EISDIR */
export function write(
  context: Context,
  ino: Ino,
  off: bigint,
  data: Uint8Array,
  keepsSetuid: KeepsSetuid,
): Promise<number> {
  return context.change(ino, data.length, async (node, inode) => {
    assertRegular(inode)
    assertRange(off, BigInt(data.length))
    if (data.length === 0) return 0
    const { mode } = inode
    const timeNs = await writeLocked(context, node, off, data, keepsSetuid)
    // The intent log records only data.
    if (node.inode.mode !== mode) context.changed(node, WRITE_BYTES)
    else context.wrote(node, WRITE_BYTES, { ino, off, timeNs, data })
    return data.length
  })
}

/**
 * Replays a write from the intent log when a filesystem is opened, before any operation runs; the caller commits. A
 * write to a deleted or unnamed inode is skipped.
 */
export async function repeatWrite(context: Context, { ino, off, data, timeNs }: PastWrite): Promise<void> {
  const node = await context.enter(ino)
  try {
    await node.inode.activate()
    if (node.inode.nlink > 0) await writeLocked(context, node, off, data, () => true, timeNs)
  } catch (error) {
    if (!(error instanceof ObjectNotFoundError)) throw error
  } finally {
    context.leave(node)
  }
}

async function writeLocked(
  context: Context,
  node: Node,
  off: bigint,
  data: Uint8Array,
  keepsSetuid: KeepsSetuid,
  timeNs?: bigint,
): Promise<bigint> {
  await writeBytes(node, off, data)
  return await finishWrite(context, node, off + BigInt(data.length), keepsSetuid, timeNs)
}
