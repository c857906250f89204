/** copy_file_range(2). */
import { CHUNK_BYTES } from '../../big-file/chunks.ts'
import type { IntentChange } from '../commit/intent.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import type { Fh, Ino, KeepsSetuid } from '../operations.ts'
import { noteAccess } from './access-time.ts'
import { assertRegular, min } from './attributes.ts'
import {
  assertRange,
  finishChange,
  readBytes,
  seekData,
  seekHole,
  shareBytes,
  writeBytes,
  zeroBytes,
} from './file-bytes.ts'

/** Maximum data bytes per call, not counting holes. Callers repeat the call for the rest. */
const COPY_MAX_BYTES = 8n << 20n
const COPY_PIECE_BYTES = 1 << 20

/** Shorter runs are copied: a separate record would cost more than the bytes. */
const SHARED_MIN_BYTES = 64n << 10n
const CHUNK = BigInt(CHUNK_BYTES)

/** A position in an open file. */
export interface FilePosition {
  readonly ino: Ino
  readonly fh: Fh
  readonly off: bigint
}

/**
 * Copies bytes, keeping holes; whole chunks at the same offset within a chunk share their stored bytes. Resolves to the number
 * of bytes copied: fewer than `len` at the end of the source and for much data.
 * @throws ErrnoError EINVAL if the ranges overlap, EISDIR, EFBIG
 */
export async function copy(
  context: Context,
  from: FilePosition,
  to: FilePosition,
  len: bigint,
  keepsSetuid: KeepsSetuid,
): Promise<bigint> {
  assertRange(from.off, 0n)
  assertRange(to.off, len)
  if (from.ino === to.ino && from.off < to.off + len && to.off < from.off + len)
    throw new ErrnoError('EINVAL', 'the ranges overlap')
  const source = await context.enter(from.ino)
  try {
    const bytes = Number(min(len, COPY_MAX_BYTES))
    const copied = await context.change(
      to.ino,
      bytes,
      async target => {
        const copied = await copyLocked(source, from.off, target, to.off, len)
        if (copied === 0n) return 0n
        // The number of an inode of the past means nothing to the next process.
        const intent: IntentChange | undefined = source.tree.readOnly
          ? undefined
          : { kind: 'copy', from: from.ino, fromOff: from.off, to: to.ino, toOff: to.off, len: copied }
        await finishChange(context, target, to.off + copied, keepsSetuid, intent)
        await source.inode.activate()
        // The kernel does not expect the source to change.
        if (!context.handles.ignoresAccess(from.fh) && noteAccess(context, source))
          context.invalidateAttributes(source)
        return copied
      },
      { also: [source] },
    )
    if (source.invalidation !== undefined) await source.invalidation
    return copied
  } finally {
    context.leave(source)
  }
}

async function copyLocked(
  source: Node,
  from: bigint,
  target: Node,
  to: bigint,
  len: bigint,
): Promise<bigint> {
  assertRegular(source.inode)
  assertRegular(target.inode)
  const end = min(from + len, source.inode.size)
  let off = from
  let left = COPY_MAX_BYTES
  while (off < end && left > 0n) {
    await source.inode.activate()
    const data = min((await seekData(source, off)) ?? end, end)
    await target.inode.activate()
    if (data > off) await zeroBytes(target, to + off - from, data - off)
    off = data
    const upTo = min(end, off + left)
    await source.inode.activate()
    const hole = (await seekHole(source, off, upTo)) ?? upTo
    left -= hole - off
    await copyData(source, off, target, to + off - from, hole - off)
    off = hole
  }
  return off - from
}

/** Copies a range without large holes: shares its whole chunks where possible, and copies the rest. */
async function copyData(source: Node, from: bigint, target: Node, to: bigint, len: bigint): Promise<void> {
  const end = from + len
  const first = from + ((CHUNK - (from % CHUNK)) % CHUNK)
  const last = end - (end % CHUNK)
  // A moment of the past may be packed away before a share of it is stored.
  const isShared = !source.tree.readOnly && from % CHUNK === to % CHUNK && last - first >= SHARED_MIN_BYTES
  let off = from
  const copyUpTo = async (end: bigint): Promise<void> => {
    while (off < end) off = await copyPiece(source, off, target, to + off - from, end)
  }
  if (isShared) {
    await copyUpTo(first)
    await shareBytes(source, first, target, to + first - from, Number(last - first))
    off = last
  }
  await copyUpTo(end)
}

async function copyPiece(source: Node, off: bigint, target: Node, to: bigint, end: bigint): Promise<bigint> {
  const piece = Number(min(end - off, BigInt(COPY_PIECE_BYTES)))
  await source.inode.activate()
  const bytes = Buffer.concat(await readBytes(source, off, piece))
  await target.inode.activate()
  await writeBytes(target, to, bytes)
  return off + BigInt(piece)
}
