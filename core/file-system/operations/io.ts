/** read(2) and write(2). */
import { chain, type Awaitable } from '../../../store/awaitable.ts'
import type { Context } from '../context.ts'
import type { Node } from '../inodes/tree.ts'
import type { Fh, Ino, KeepsSetuid } from '../operations.ts'
import { noteAccess } from './access-time.ts'
import { assertRegular } from './attributes.ts'
import { assertRange, finishChange, readBytes, writeBytes } from './file-bytes.ts'

/** @throws ErrnoError EISDIR, EINVAL */
export function read(
  context: Context,
  ino: Ino,
  fh: Fh,
  off: bigint,
  len: number,
  into?: Uint8Array,
): Awaitable<readonly Uint8Array[]> {
  return context.read(ino, (node, inode) => {
    assertRegular(inode)
    if (!context.handles.ignoresAccess(fh)) noteAccess(context, node)
    return readBytes(node, off, len, into)
  })
}

/** Writes all of `data`. @throws ErrnoError EFBIG, EINVAL, EISDIR */
export function write(
  context: Context,
  ino: Ino,
  off: bigint,
  data: Uint8Array,
  keepsSetuid: KeepsSetuid,
): Awaitable<number> {
  return context.change(ino, data.length, (node, inode) => {
    assertRegular(inode)
    return chain(writeAt(context, node, off, data, keepsSetuid), () => data.length)
  })
}

/**
 * Writes all of `data` at the end, and returns the new end. Requests of one large append may run at the same time: they take the inode's
 * lock in the order of their arrival, which is that of their bytes.
 *
 * `known` is the end that the kernel appends at; it has the data in pages there. It does not look at the size again before it appends,
 * even if its attributes were invalidated. If the file has another end, the data goes there, and the kernel drops its pages and attributes.
 * @throws as {@link write}
 */
export function append(
  context: Context,
  ino: Ino,
  data: Uint8Array,
  keepsSetuid: KeepsSetuid,
  known: bigint | undefined,
): Awaitable<bigint> {
  return context.change(ino, data.length, async (node, inode) => {
    assertRegular(inode)
    const { size } = inode
    const { caches } = context
    const off = known !== undefined && caches.knowsSize(node) ? known : size
    await writeAt(context, node, off, data, keepsSetuid)
    if (known !== undefined && known !== off) {
      caches.invalidateRange(ino, known < off ? known : off, 0n)
      await caches.invalidateAttributes(node)
    }
    return off + BigInt(data.length)
  })
}

function writeAt(
  context: Context,
  node: Node,
  off: bigint,
  data: Uint8Array,
  keepsSetuid: KeepsSetuid,
): Awaitable<void> {
  assertRange(off, BigInt(data.length))
  if (data.length === 0) return
  const end = off + BigInt(data.length)
  return chain(writeBytes(node, off, data), () =>
    finishChange(context, node, end, keepsSetuid, { kind: 'write', ino: node.ino, off, data }),
  )
}
