/** fallocate(2), and lseek(2) with SEEK_DATA and SEEK_HOLE. */
import type { Awaitable } from '../../../store/awaitable.ts'
import type { Inode } from '../../tree/inode.ts'
import { SMALL_CHANGE_BYTES, type Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import type { AllocateMode, Ino, KeepsSetuid } from '../operations.ts'
import { assertRegular } from './attributes.ts'
import { assertRange, finishChange, seekData, seekHole, zeroBytes } from './file-bytes.ts'

/**
 * Punches holes, zeroes ranges, or extends a file. Space is used only when data is written, so a plain allocation only checks
 * that enough is free, and sets the size.
 * @throws ErrnoError EINVAL, EFBIG, EOPNOTSUPP, ENOSPC
 */
export async function allocate(
  context: Context,
  ino: Ino,
  mode: AllocateMode,
  range: { readonly off: bigint; readonly len: bigint },
  keepsSetuid: KeepsSetuid,
  availableBytes: () => Promise<number>,
): Promise<void> {
  const { off, len } = range
  if (len <= 0n) throw new ErrnoError('EINVAL')
  assertRange(off, len)
  if (mode.punchHole && (!mode.keepSize || mode.zeroRange)) throw new ErrnoError('EOPNOTSUPP')
  const isPlain = !mode.punchHole && !mode.zeroRange
  if (isPlain && len > BigInt(await availableBytes()))
    throw new ErrnoError('ENOSPC', 'the disk of the database has less free space')
  const allocated = async (node: Node, inode: Inode): Promise<void> => {
    assertRegular(inode)
    if (!isPlain) await zeroBytes(node, off, len)
    await finishChange(context, node, mode.keepSize ? 0n : off + len, keepsSetuid, {
      kind: 'allocate',
      ino,
      off,
      len,
      mode,
    })
  }
  await context.change(ino, SMALL_CHANGE_BYTES, allocated, { frees: mode.punchHole })
}

/** @throws ErrnoError ENXIO at and beyond the end, and if no data follows. */
export function seek(context: Context, ino: Ino, off: bigint, whence: 'data' | 'hole'): Awaitable<bigint> {
  return context.read(ino, async (node, inode) => {
    assertRegular(inode)
    const found = whence === 'data' ? await seekData(node, off) : await seekHole(node, off, inode.size)
    if (found === undefined) throw new ErrnoError('ENXIO')
    return found
  })
}
