/** fallocate, SEEK_DATA and SEEK_HOLE, copy_file_range. */
import { CHUNK_BYTES } from '../../big-file/chunks.ts'
import { ErrnoError } from '../errno.ts'
import type { AllocateMode, Ino } from '../operations.ts'
import { assertRegular, S_ISGID, S_ISUID } from './attributes.ts'
import { SMALL_CHANGE_BYTES, type Context } from '../context.ts'
import { assertRange, dropPrivileges, min, type FileData } from './io.ts'
import type { Node } from '../inodes/node.ts'

/** The most data that one call copies; holes come on top. The kernel and its callers ask for the rest. */
const COPY_MAX_BYTES = 8n << 20n
const COPY_PIECE_BYTES = 1 << 20

/** Less is copied: a record of its own would cost more than its bytes. */
const SHARED_MIN_BYTES = 64n << 10n
const CHUNK = BigInt(CHUNK_BYTES)

/** A part of an open file. */
export interface FilePosition {
  readonly ino: Ino
  readonly off: bigint
}

export class Space {
  readonly #context: Context
  readonly #data: FileData
  readonly #availableBytes: () => Promise<number>

  constructor(context: Context, data: FileData, availableBytes: () => Promise<number>) {
    this.#context = context
    this.#data = data
    this.#availableBytes = availableBytes
  }

  /**
   * Space is taken when it is written, so plain allocation checks that there is some and sets the size.
   * @throws ErrnoError EINVAL, EFBIG, EOPNOTSUPP, ENOSPC
   */
  async allocate(ino: Ino, mode: AllocateMode, off: bigint, len: bigint): Promise<void> {
    if (len <= 0n) throw new ErrnoError('EINVAL')
    assertRange(off, len)
    if (mode.punchHole && (!mode.keepSize || mode.zeroRange)) throw new ErrnoError('EOPNOTSUPP')
    const isPlain = !mode.punchHole && !mode.zeroRange
    if (isPlain && len > BigInt(await this.#availableBytes()))
      throw new ErrnoError('ENOSPC', 'the disk that the database is on has less space')
    await this.#context.change(ino, SMALL_CHANGE_BYTES, async (node, inode) => {
      assertRegular(inode)
      if (!isPlain) await this.#data.zeroBytes(node, off, len)
      await this.#data.finishChange(node, mode.keepSize ? 0n : off + len)
      if (inode.mode & (S_ISUID | S_ISGID)) dropPrivileges(inode)
    })
  }

  /** @throws ErrnoError ENXIO at and beyond the end, and where no data follows. */
  seek(ino: Ino, off: bigint, whence: 'data' | 'hole'): Promise<bigint> {
    return this.#context.read(ino, async (node, inode) => {
      assertRegular(inode)
      const found =
        whence === 'data'
          ? await this.#data.seekData(node, off)
          : await this.#data.seekHole(node, off, inode.size)
      if (found === undefined) throw new ErrnoError('ENXIO')
      return found
    })
  }

  /**
   * Copies bytes, holes as holes; whole chunks that lie alike in both share what is stored of them. Resolves to how many, fewer than `len` at the source's end and for much data.
   * @throws ErrnoError EINVAL where the ranges overlap, EISDIR, EFBIG
   */
  async copy(from: FilePosition, to: FilePosition, len: bigint): Promise<bigint> {
    const context = this.#context
    assertRange(from.off, 0n)
    assertRange(to.off, len)
    if (from.ino === to.ino && from.off < to.off + len && to.off < from.off + len)
      throw new ErrnoError('EINVAL', 'the ranges overlap')
    const source = await context.enter(from.ino)
    try {
      return await context.change(
        to.ino,
        Number(min(len, COPY_MAX_BYTES)),
        target => this.#copyLocked(source, from.off, target, to.off, len),
        [source],
      )
    } finally {
      context.leave(source)
    }
  }

  async #copyLocked(source: Node, from: bigint, target: Node, to: bigint, len: bigint): Promise<bigint> {
    assertRegular(source.inode)
    assertRegular(target.inode)
    const end = min(from + len, source.inode.size)
    let off = from
    let left = COPY_MAX_BYTES
    while (off < end && left > 0n) {
      await source.inode.activate()
      const data = min((await this.#data.seekData(source, off)) ?? end, end)
      if (data > off) await this.#data.zeroBytes(target, to + off - from, data - off)
      off = data
      const upTo = min(end, off + left)
      await source.inode.activate()
      const hole = (await this.#data.seekHole(source, off, upTo)) ?? upTo
      left -= hole - off
      await this.#copyData(source, off, target, to + off - from, hole - off)
      off = hole
    }
    if (off === from) return 0n
    await this.#data.finishChange(target, to + off - from)
    this.#data.noteAccess(source, source.inode)
    return off - from
  }

  /** Shares the whole chunks of a range without a large hole, where it can, and copies the rest. */
  async #copyData(source: Node, from: bigint, target: Node, to: bigint, len: bigint): Promise<void> {
    const end = from + len
    const first = from + ((CHUNK - (from % CHUNK)) % CHUNK)
    const last = end - (end % CHUNK)
    // A moment of the past may be packed away before what is shared with it is stored.
    const isShared = !source.tree.readOnly && from % CHUNK === to % CHUNK && last - first >= SHARED_MIN_BYTES
    let off = from
    const copyUpTo = async (end: bigint): Promise<void> => {
      while (off < end) off = await this.#copyPiece(source, off, target, to + off - from, end)
    }
    if (isShared) {
      await copyUpTo(first)
      await source.inode.activate()
      await target.inode.activate()
      await this.#data.shareBytes(source, first, target, to + first - from, Number(last - first))
      off = last
    }
    await copyUpTo(end)
  }

  async #copyPiece(source: Node, off: bigint, target: Node, to: bigint, end: bigint): Promise<bigint> {
    const piece = Number(min(end - off, BigInt(COPY_PIECE_BYTES)))
    await source.inode.activate()
    const bytes = Buffer.concat(await this.#data.readBytes(source, off, piece))
    await target.inode.activate()
    await this.#data.writeBytes(target, to, bytes)
    return off + BigInt(piece)
  }
}
