/** A file's bytes: reading, writing, sizes. Holes and copies are in space.ts. */
import { BigFile } from '../../big-file/big-file.ts'
import type { Inode } from '../../tree/inode.ts'
import { ZBigFile } from '../../zblk/zbigfile.ts'
import { ObjectNotFoundError } from '../../../store/errors.ts'
import { ErrnoError } from '../errno.ts'
import type { Ino } from '../operations.ts'
import {
  assertRegular,
  dropCapabilities,
  isAccessTimeDue,
  setTimes,
  SIZE_MAX,
  withoutPrivileges,
} from './attributes.ts'
import type { Context } from '../context.ts'
import type { Node } from '../inodes/node.ts'
import type { PastWrite } from '../commit/write-intents.ts'

/** What holes are read from, in pieces. */
const ZEROS = new Uint8Array(1 << 20)

/** About what a written inode takes in memory beside its data, in bytes. */
const WRITE_BYTES = 500

export class FileData {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  /** @throws ErrnoError EISDIR, EINVAL */
  read(ino: Ino, off: bigint, len: number, into?: Uint8Array): Promise<readonly Uint8Array[]> {
    return this.#context.read(ino, async (node, inode) => {
      assertRegular(inode)
      this.noteAccess(node, inode)
      return await this.readBytes(node, off, len, into)
    })
  }

  /** Writes all of `data`. @throws ErrnoError EFBIG, EINVAL */
  write(ino: Ino, off: bigint, data: Uint8Array): Promise<number> {
    return this.#context.change(ino, data.length, async (node, inode) => {
      assertRegular(inode)
      assertRange(off, BigInt(data.length))
      if (data.length === 0) return 0
      const timeNs = await this.#write(node, off, data)
      this.#context.wrote(node, WRITE_BYTES, { ino, off, timeNs, data })
      return data.length
    })
  }

  /**
   * Makes a write again that no transaction has. Nobody else may be at work yet; the caller stores it with whatever
   * else there is. An inode that nobody has a name for, or that is gone, is left as it is.
   */
  async repeat({ ino, off, data, timeNs }: PastWrite): Promise<void> {
    const node = await this.#context.enter(ino)
    try {
      await node.inode.activate()
      if (node.inode.nlink > 0) await this.#write(node, off, data, timeNs)
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error
    } finally {
      this.#context.leave(node)
    }
  }

  /** Returns when it was written. */
  async #write(node: Node, off: bigint, data: Uint8Array, timeNs?: bigint): Promise<bigint> {
    await this.writeBytes(node, off, data)
    return await this.#finish(node, off + BigInt(data.length), timeNs)
  }

  /** Bytes of a node that is locked and activated, cut at its size. */
  async readBytes(node: Node, off: bigint, len: number, into?: Uint8Array): Promise<readonly Uint8Array[]> {
    const { size, data } = node.inode
    if (off < 0n) throw new ErrnoError('EINVAL')
    if (off >= size) return []
    const wanted = Math.min(len, Number(min(size - off, BigInt(len))))
    if (data === undefined) return zeros(wanted)
    return await (await this.#open(node)).read(off, wanted, into)
  }

  /** Puts bytes into a node that is locked alone and activated. {@link FileData.finishChange} follows. */
  async writeBytes(node: Node, off: bigint, data: Uint8Array): Promise<void> {
    if (data.length === 0) return
    const file = await this.#openToWrite(node)
    await file.write(off, data)
    node.unstoredBytes += data.length
  }

  /**
   * Puts bytes of another node, whole chunks at both ends, into a node that is locked alone and activated, as is the
   * other. {@link FileData.finishChange} follows.
   */
  async shareBytes(source: Node, from: bigint, target: Node, to: bigint, len: number): Promise<void> {
    const file = await this.#openToWrite(target)
    await file.share(await this.#open(source), from, to, len)
    target.unstoredBytes += len
  }

  /** Makes a range of a node that is locked alone and activated read as zeros. {@link FileData.finishChange} follows. */
  async zeroBytes(node: Node, off: bigint, len: bigint): Promise<void> {
    if (node.inode.data === undefined) return
    const file = await this.#open(node)
    await file.zero(off, len)
    node.unstoredBytes = Math.min(node.unstoredBytes, file.dirtyBytes)
  }

  /** The first offset `>= off` of data in a node that is locked and activated; undefined where there is none. */
  async seekData(node: Node, off: bigint): Promise<bigint | undefined> {
    const { size, data } = node.inode
    if (off < 0n || off >= size || data === undefined) return undefined
    const found = await (await this.#open(node)).seekData(off)
    return found === undefined || found >= size ? undefined : found
  }

  /**
   * The first offset `>= off` of a hole in a node that is locked and activated, where it is before `upTo`, else that or the
   * end, whichever comes first; undefined beyond the end.
   */
  async seekHole(node: Node, off: bigint, upTo: bigint): Promise<bigint | undefined> {
    const { size, data } = node.inode
    if (off < 0n || off >= size) return undefined
    if (data === undefined) return off
    return await (await this.#open(node)).seekHole(off, min(size, upTo))
  }

  /** Sets the size of a node that is locked alone and activated; times are the caller's. @throws ErrnoError EFBIG, EINVAL */
  async resize(node: Node, size: bigint): Promise<void> {
    assertRegular(node.inode)
    assertRange(0n, size)
    if (size < node.inode.size && node.inode.data !== undefined) {
      const file = await this.#open(node)
      await file.truncate(size)
      await node.inode.activate()
      node.unstoredBytes = Math.min(node.unstoredBytes, file.dirtyBytes)
    }
    node.inode.size = size
    this.#context.bookkeeping.wrote(node)
  }

  /** After data was changed up to `end`: the size, the times, and what else depends on it. */
  async finishChange(node: Node, end: bigint): Promise<void> {
    await this.#finish(node, end)
    this.#context.changed(node, WRITE_BYTES)
  }

  async #finish(node: Node, end: bigint, givenNs?: bigint): Promise<bigint> {
    const { inode } = node
    await inode.activate()
    if (end > inode.size) inode.size = end
    const timeNs = givenNs ?? this.#context.nowNs()
    setTimes(inode, timeNs, 'mtime', 'ctime')
    dropCapabilities(inode)
    this.#context.bookkeeping.wrote(node)
    return timeNs
  }

  /** Notes that a node was read, now and then. */
  noteAccess(node: Node, inode: Inode): void {
    if (node.tree.readOnly) return
    const nowNs = this.#context.nowNs()
    if (isAccessTimeDue(inode, nowNs)) this.#context.changeIfFree(node, () => inode.setTime('atime', nowNs))
  }

  async #open(node: Node): Promise<BigFile> {
    if (node.file !== undefined) return node.file
    const { connection } = node.tree
    const { data, oid } = node.inode
    const object = data === undefined ? undefined : connection.resolve(data)
    if (!(object instanceof ZBigFile)) throw connection.corrupt(oid, "a file's data is no ZBigFile")
    return this.#attach(node, await BigFile.open(connection, object))
  }

  async #openToWrite(node: Node): Promise<BigFile> {
    if (node.inode.data !== undefined) return await this.#open(node)
    const file = await BigFile.create(node.tree.connection)
    await node.inode.activate()
    node.inode.data = file.file.ref
    return this.#attach(node, file)
  }

  #attach(node: Node, file: BigFile): BigFile {
    file.onGrowth = bytes => node.noteGrowth(bytes)
    file.onEmptied = () => node.noteEmptied()
    node.file = file
    return file
  }
}

/** Clears setuid and setgid for a change by somebody who is not trusted to keep them. */
export function dropPrivileges(inode: Inode): void {
  const mode = withoutPrivileges(inode.mode)
  if (mode !== inode.mode) inode.mode = mode
}

/** @throws ErrnoError EINVAL, EFBIG */
export function assertRange(off: bigint, len: bigint): void {
  if (off < 0n || len < 0n) throw new ErrnoError('EINVAL')
  if (off + len > SIZE_MAX) throw new ErrnoError('EFBIG')
}

export const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)

function zeros(count: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (let left = count; left > 0; left -= ZEROS.length)
    pieces.push(ZEROS.subarray(0, Math.min(left, ZEROS.length)))
  return pieces
}
