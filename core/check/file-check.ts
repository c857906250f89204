/**
 * Checks one file's bytes: the trees that lead to them, that they are present, that none are beyond its end, and that no other
 * file has the same objects. A repair turns lost bytes into holes, in whole chunks, and leaves the rest unchanged.
 */
import { BigFile } from '../big-file/big-file.ts'
import { storedBytes } from '../big-file/apply.ts'
import { Blocks, type Extent } from '../big-file/blocks.ts'
import { CHUNK_BYTES, chunkDown, chunkUp } from '../big-file/chunks.ts'
import type { IOBTree } from '../btree/tree.ts'
import type { Connection } from '../objects/connection.ts'
import type { Inode } from '../tree/inode.ts'
import { Ref, type PickleValue } from '../objects/pickle/value.ts'
import { DATA_HEAD_MAX, dataPosition, ZBLK0, ZDATA } from '../objects/record.ts'
import { CorruptRecordError } from '../../store/errors.ts'
import { NO_BYTES } from '../../store/bytes.ts'
import type { Oid } from '../../store/ids.ts'
import { LayoutCache } from '../zblk/layout-cache.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import type { Damage } from './damage.ts'
import type { Findings, LostPart } from './findings.ts'
import { separateCopy } from './separate-copy.ts'
import { faultOf, type Fault, type Trees } from './trees.ts'

/** A repair of one block. `isBeyondEnd`: only this file's size makes it necessary. */
type Fix =
  | { readonly kind: 'drop'; readonly blk: number; readonly isBeyondEnd?: true }
  | {
      readonly kind: 'rebuild'
      readonly block: ZBlk1
      readonly chunktab: IOBTree
      readonly lost: ReadonlySet<number>
    }
  | { readonly kind: 'zero'; readonly lo: bigint; readonly hi: bigint; readonly isBeyondEnd?: true }

/** Objects of a file that were met before: in another file, or elsewhere in it. */
interface SharedObjects {
  readonly oid: Oid
  lo: bigint
  hi: bigint
}

interface FileInHand {
  readonly inode: Inode
  readonly path: string
  readonly size: bigint
  readonly file: ZBigFile
  readonly blocks: Blocks
  readonly fixes: Fix[]
  shared: SharedObjects | undefined
}

/** The objects of all files and directories that were checked; of an inode, only those that it leads to. */
export interface OwnedOids {
  /** Returns whether it was absent. */
  add(oid: Oid): boolean
}

const HOLE = 'it is a hole now'
export interface FileCheckParts {
  readonly connection: Connection
  readonly findings: Findings
  readonly trees: Trees
  readonly report: (damage: Damage) => void
  readonly isRepair: boolean
  /** Stores the repairs so far if they take much memory. */
  readonly commit: () => Promise<void>
}

export class FileCheck {
  readonly #connection: Connection
  readonly #findings: Findings
  readonly #trees: Trees
  readonly #report: (damage: Damage) => void
  readonly #repair: boolean
  readonly #commit: () => Promise<void>
  readonly #owned: OwnedOids

  constructor({ connection, findings, trees, report, isRepair, commit }: FileCheckParts, owned: OwnedOids) {
    this.#connection = connection
    this.#findings = findings
    this.#trees = trees
    this.#report = report
    this.#repair = isRepair
    this.#commit = commit
    this.#owned = owned
  }

  /** Checks an activated regular file; resolves to the number of bytes stored. */
  async check(inode: Inode, path: string): Promise<number> {
    const { data, size } = inode
    if (data === undefined) return this.#checkInline(inode, path)
    const opened = await this.#open(data)
    if ('reason' in opened) {
      this.#lost({ path, lo: 0n, hi: size }, opened)
      if (!this.#repair) return 0
      await inode.activate()
      inode.object.delete('data')
      return 0
    }
    const blocks = new Blocks(this.#connection, opened)
    const inHand: FileInHand = { inode, path, size, file: opened, blocks, fixes: [], shared: undefined }
    this.#claim(inHand, opened.oid, 0n, size)
    const stored = await this.#checkBlocks(inHand)
    const { shared, fixes } = inHand
    if (shared !== undefined)
      this.#report({
        kind: 'file',
        path,
        ...shared,
        reason:
          'its objects are also elsewhere in the file, or in another file: a change of one would change both',
        ...this.#done('it has objects of its own now'),
      })
    if (!this.#repair || (fixes.length === 0 && shared === undefined)) return stored
    return await this.#fix(inHand)
  }

  /** Records that the file has an object, for a range of it. */
  #claim(inHand: FileInHand, oid: Oid, lo: bigint, hi: bigint): void {
    if (this.#owned.add(oid)) return
    const { size } = inHand
    const shared = (inHand.shared ??= { oid, lo, hi: lo })
    if (lo < shared.lo) shared.lo = lo
    if (hi > shared.hi) shared.hi = hi < size ? hi : size
  }

  /** Data in the inode: returns the number of bytes stored, in whole chunks. */
  #checkInline(inode: Inode, path: string): number {
    const { inlineData = NO_BYTES, size } = inode
    if (inlineData.length <= size) return chunkUp(inlineData.length)
    const kept = inlineData.subarray(0, Number(size))
    this.#report({
      kind: 'file',
      path,
      lo: size,
      hi: BigInt(inlineData.length),
      oid: inode.oid,
      reason: 'it is beyond the end of the file',
      ...this.#done('it is removed'),
    })
    if (this.#repair) inode.replaceData(kept.length === 0 ? undefined : kept)
    return chunkUp(this.#repair ? kept.length : inlineData.length)
  }

  async #open(ref: Ref): Promise<ZBigFile | Fault> {
    try {
      const object = this.#connection.resolve(ref)
      if (!(object instanceof ZBigFile))
        return { oid: ref.oid, reason: `a file's data is a ${object.className}` }
      return (await this.#trees.fault(object)) ?? object
    } catch (error) {
      return faultOf(error)
    }
  }

  /** Resolves to the number of bytes stored. */
  async #checkBlocks(inHand: FileInHand): Promise<number> {
    const { path, size, file, blocks } = inHand
    const blksize = BigInt(blocks.blksize)
    const tree = await this.#trees.check(blocks.blktab)
    let stored = 0
    let holes = false
    const met = new Set<Oid>()
    for await (const part of this.#trees.parts(blocks.blktab, { met })) {
      if ('fault' in part) {
        holes = true
        this.#lost(
          {
            path,
            lo: BigInt(part.lo ?? 0) * blksize,
            hi: part.hi === undefined ? size : BigInt(part.hi) * blksize,
          },
          part.fault,
        )
        continue
      }
      for (const [i, blk] of part.keys.entries())
        stored += await this.#checkBlock(inHand, blk, part.values[i] ?? null)
    }
    for (const oid of met) this.#claim(inHand, oid, 0n, size)
    if (tree === undefined && !holes) return stored
    if (tree !== undefined && !holes)
      this.#report({ kind: 'file', path, ...tree, ...this.#done('its tree of blocks is rebuilt') })
    if (this.#repair) {
      const rebuilt = await this.#trees.rebuild(blocks.blktab)
      await file.activate()
      file.begin(blocks.blksize, rebuilt)
    }
    return stored
  }

  async #checkBlock(inHand: FileInHand, blk: number, value: PickleValue): Promise<number> {
    const { path, size, blocks, fixes } = inHand
    const lo = BigInt(blk) * BigInt(blocks.blksize)
    const end = lo + BigInt(blocks.blksize)
    const hi = end < size ? end : size
    if (blk < 0 || lo >= size) {
      this.#report({
        kind: 'file',
        path,
        lo,
        hi: end,
        reason: 'a block is stored after the end of the file',
        ...this.#done('it is dropped'),
      })
      fixes.push({ kind: 'drop', blk, isBeyondEnd: true })
      return 0
    }
    try {
      const ref = value instanceof Ref ? value : undefined
      if (ref === undefined || (ref.className !== ZBLK0 && ref.className !== ZBlk1.CLASS_NAME))
        throw blocks.blktab.corrupt(
          `block ${blk} is ${ref === undefined ? 'not a reference' : `a ${ref.className}`}`,
        )
      this.#claim(inHand, ref.oid, lo, hi)
      const isWhole =
        ref.className === ZBLK0
          ? this.#checkWhole(inHand, blk, ref)
          : await this.#checkChunks(inHand, blk, ref)
      if (!(await isWhole)) return 0
      const extents = await blocks.extents(blk)
      this.#checkEnd(inHand, blk, extents.at(-1))
      return await storedBytes(blocks, blk)
    } catch (error) {
      this.#lost({ path, lo, hi }, faultOf(error))
      fixes.push({ kind: 'drop', blk })
      return 0
    }
  }

  #checkEnd({ path, size, blocks, fixes }: FileInHand, blk: number, last: Extent | undefined): void {
    const end = BigInt(blk) * BigInt(blocks.blksize) + BigInt(last?.hi ?? 0)
    // A file with shorter blocks cannot be changed, nor can it grow, so that the bytes never show.
    if (last === undefined || end <= size || blocks.blksize < CHUNK_BYTES) return
    this.#report({
      kind: 'file',
      path,
      lo: size,
      hi: end,
      reason: 'bytes are stored after the end of the file',
      ...this.#done('they are dropped'),
    })
    fixes.push({ kind: 'zero', lo: size, hi: end, isBeyondEnd: true })
  }

  /** Checks a block in one record, part of which may be lost. */
  async #checkWhole(inHand: FileInHand, blk: number, ref: Ref): Promise<boolean> {
    return await this.#checkData(inHand, blk, 0, ref.oid)
  }

  /** Checks data that begins at `start` of a block; false if part of it is lost. @throws CorruptRecordError if all are. */
  async #checkData(inHand: FileInHand, blk: number, start: number, oid: Oid): Promise<boolean> {
    const lost = this.#findings.lostOf(oid)
    if (lost.length === 0) return true
    this.#findings.named(oid)
    const { path, size, blocks, fixes } = inHand
    const [first] = lost
    // Such a block is not cut: it is lost as a whole.
    if (blocks.blksize < CHUNK_BYTES && first !== undefined)
      throw new CorruptRecordError(oid, first.tid, first.reason)
    const off = await this.#dataOffset(oid, lost)
    const base = BigInt(blk) * BigInt(blocks.blksize)
    for (const { lo = 0, hi = 0, tid, reason } of lost) {
      const from = base + BigInt(chunkDown(start + Math.max(0, lo - off)))
      const to = base + BigInt(Math.min(chunkUp(start + hi - off), blocks.blksize))
      this.#lost({ path, lo: from, hi: to < size ? to : size }, { oid, tid, reason })
      fixes.push({ kind: 'zero', lo: from, hi: to })
    }
    return false
  }

  /** The offset of the data in a record that is lost only in part. @throws CorruptRecordError if it is lost entirely. */
  async #dataOffset(oid: Oid, lost: readonly LostPart[]): Promise<number> {
    const whole = lost.find(({ lo, hi }) => lo === undefined || hi === undefined)
    if (whole !== undefined) throw new CorruptRecordError(oid, whole.tid, whole.reason)
    const first = Math.min(...lost.map(({ lo = 0 }) => lo))
    const part = await this.#connection.records.start(oid, Math.min(first, DATA_HEAD_MAX))
    if (part === undefined) return 0
    // Only the head is needed to find the data: the rest may be lost.
    const head = Buffer.concat([
      part.bytes,
      new Uint8Array(Math.max(0, Math.min(DATA_HEAD_MAX, part.size) - part.bytes.length)),
    ])
    return dataPosition(head, part.size, oid, part.tid).off
  }

  /** Checks a block that is a tree of chunks; false if part of it is lost. */
  async #checkChunks(inHand: FileInHand, blk: number, ref: Ref): Promise<boolean> {
    const { path, size, blocks, fixes } = inHand
    const block = this.#connection.resolve(ref)
    const fault =
      block instanceof ZBlk1
        ? await this.#trees.fault(block)
        : { oid: ref.oid, reason: `it is a ${block.className}` }
    if (fault !== undefined || !(block instanceof ZBlk1))
      throw new CorruptRecordError(ref.oid, fault?.tid ?? this.#connection.at, fault?.reason ?? '')
    const { chunktab } = block
    const tree = await this.#trees.check(chunktab)
    const start = BigInt(blk) * BigInt(blocks.blksize)
    const lostChunks = new Set<number>()
    let isWhole = tree === undefined
    let isNamed = false
    let hasHoles = false
    const name = (lo: number, hi: number, fault: Fault): void => {
      isWhole = false
      isNamed = true
      const to = start + BigInt(hi)
      this.#lost({ path, lo: start + BigInt(lo), hi: to < size ? to : size }, fault)
    }
    const met = new Set<Oid>()
    for await (const part of this.#trees.parts(chunktab, { met })) {
      if ('fault' in part) {
        name(part.lo ?? 0, part.hi ?? blocks.blksize, part.fault)
        continue
      }
      for (const [i, off] of part.keys.entries()) {
        const fault = await this.#checkChunk(inHand, blk, off, part.values[i] ?? null, chunktab)
        if (fault === 'whole') continue
        hasHoles = true
        if (fault === 'part') continue
        lostChunks.add(off)
        name(off, part.keys[i + 1] ?? Math.min(blocks.blksize, off + CHUNK_BYTES), fault)
      }
    }
    for (const oid of met) this.#claim(inHand, oid, start, start + BigInt(blocks.blksize))
    if (tree !== undefined && !isNamed) name(0, blocks.blksize, tree)
    if (!isWhole) fixes.push({ kind: 'rebuild', block, chunktab, lost: lostChunks })
    else chunktab.deactivate()
    return isWhole && !hasHoles
  }

  async #checkChunk(
    inHand: FileInHand,
    blk: number,
    off: number,
    value: PickleValue,
    { oid }: IOBTree,
  ): Promise<Fault | 'whole' | 'part'> {
    if (!(value instanceof Ref) || value.className !== ZDATA)
      return { oid, reason: `the chunk at ${off} is not a reference to a ZData` }
    if (off < 0 || off >= inHand.blocks.blksize)
      return { oid, reason: `a chunk begins at ${off}, outside of its block` }
    const lo = BigInt(blk) * BigInt(inHand.blocks.blksize) + BigInt(off)
    this.#claim(inHand, value.oid, lo, lo + BigInt(CHUNK_BYTES))
    try {
      return (await this.#checkData(inHand, blk, off, value.oid)) ? 'whole' : 'part'
    } catch (error) {
      return faultOf(error)
    }
  }

  /** Applies the repairs; resolves to the number of bytes stored afterwards. */
  async #fix({ inode, size, file, fixes: all, shared }: FileInHand): Promise<number> {
    await file.activate()
    const { blktab } = file
    // Beyond the end of this file may be bytes of the other one; the copy has none of them.
    const fixes = shared === undefined ? all : all.filter(fix => !('isBeyondEnd' in fix))
    for (const fix of fixes) {
      if (fix.kind === 'drop') await blktab.delete(fix.blk)
      else if (fix.kind === 'rebuild') {
        const rebuilt = await this.#trees.rebuild(fix.chunktab)
        for (const off of fix.lost) await rebuilt.delete(off)
        await fix.block.activate()
        fix.block.setChunktab(rebuilt)
        LayoutCache.of(this.#connection).forget(fix.block.oid)
      }
    }
    const bytes = await BigFile.open(this.#connection, file)
    for (const fix of fixes) if (fix.kind === 'zero') await bytes.zero(fix.lo, fix.hi - fix.lo)
    await bytes.prepare()
    if (shared === undefined) return await this.#stored(file)
    const separate = await separateCopy(this.#connection, bytes, size, this.#commit)
    await inode.activate()
    inode.data = separate.ref
    return await this.#stored(separate)
  }

  async #stored(file: ZBigFile): Promise<number> {
    await file.activate()
    const blocks = new Blocks(this.#connection, file)
    let stored = 0
    for await (const [blk] of file.blktab.range()) stored += await storedBytes(blocks, blk)
    return stored
  }

  #lost(range: { readonly path: string; readonly lo: bigint; readonly hi: bigint }, fault: Fault): void {
    this.#report({ kind: 'file', ...range, ...fault, ...this.#done(HOLE) })
  }

  #done(repaired: string): { readonly repaired?: string } {
    return this.#repair ? { repaired } : {}
  }
}
