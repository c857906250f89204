/** read(2) and write(2). */
import type { Context } from '../context.ts'
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
    await writeBytes(node, off, data)
    const end = off + BigInt(data.length)
    await finishChange(context, node, end, keepsSetuid, { kind: 'write', ino, off, data })
    return data.length
  })
}
