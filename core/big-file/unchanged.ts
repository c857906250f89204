/**
 * Finds chunks that were written with the bytes that they have in the store: they need not be stored again. Programs write more than they change:
 * `rsync --inplace` whole blocks of its own around a difference, databases whole pages.
 *
 * Reading what is stored takes longer than storing a chunk, so not everything is compared:
 *
 * | a run of written bytes           | is compared                                                                         |
 * |----------------------------------|-------------------------------------------------------------------------------------|
 * | shorter than {@link SHORT_BYTES}  | one of {@link SKIPPED}; after one with unchanged chunks, the next {@link CREDIT} as well |
 * | up to {@link SAMPLED_BYTES}       | always                                                                              |
 * | longer                           | if one of {@link SAMPLES} chunks is unchanged                                        |
 *
 * A long run of which less than half is unchanged stays one run, and so one record.
 */
import type { Blocks, Extent } from './blocks.ts'
import { CHUNK_BYTES, chunkDown } from './chunks.ts'
import type { Overlay } from './overlay.ts'
import { Reply } from './reply.ts'
import { joinBytes } from '../bytes.ts'

const SHORT_BYTES = 16_384
const SKIPPED = 16
const CREDIT = 64
const SAMPLED_BYTES = 65_536
const SAMPLES = 4

/** Finds the unchanged chunks of one file. */
export class UnchangedChunks {
  readonly #blocks: Blocks
  /** Short runs that are compared, whatever they are. */
  #credit = 0
  #skipped = 0

  constructor(blocks: Blocks) {
    this.#blocks = blocks
  }

  /**
   * Calls `drop` with each range of an overlay's bytes, in whole chunks, that is known to equal the stored bytes. Changes may run meanwhile, but no prepare.
   * @throws CorruptRecordError, StoreError
   */
  async find(blk: number, overlay: Overlay, drop: (lo: number, hi: number) => void): Promise<void> {
    const runs = overlay.runs.filter(run => run.bytes !== undefined && this.#isCandidate(run))
    if (runs.length === 0 || (await this.#blocks.find(blk)) === undefined) return
    const compare = new Comparison(this.#blocks, blk, overlay)
    const [long, others] = [runs.filter(isSampled), runs.filter(run => !isSampled(run))]
    for (const run of long) {
      let isPromising = false
      await compare.run(samplesOf(run), unchanged => (isPromising = unchanged.length > 0))
      if (!isPromising) continue
      await compare.run([run], unchanged => {
        const bytes = unchanged.reduce((sum, { lo, hi }) => sum + hi - lo, 0)
        if (2 * bytes >= run.hi - run.lo) for (const { lo, hi } of unchanged) drop(lo, hi)
      })
    }
    if (others.length === 0) return
    await compare.run(others, unchanged => {
      for (const { lo, hi } of unchanged) drop(lo, hi)
      if (unchanged.length > 0) this.#credit = CREDIT
    })
  }

  #isCandidate({ lo, hi }: Extent): boolean {
    if (hi - lo >= SHORT_BYTES) return true
    if (this.#credit > 0) {
      this.#credit--
      return true
    }
    return this.#skipped++ % SKIPPED === 0
  }
}

const isSampled = ({ lo, hi }: Extent): boolean => hi - lo > SAMPLED_BYTES

/** Chunks at equal distances. */
function samplesOf({ lo, hi }: Extent): readonly Extent[] {
  const step = chunkDown((hi - lo) / SAMPLES)
  return Array.from({ length: SAMPLES }, (_, index) => ({
    lo: lo + index * step,
    hi: lo + index * step + CHUNK_BYTES,
  }))
}

class Comparison {
  readonly #blocks: Blocks
  readonly #blk: number
  readonly #overlay: Overlay

  constructor(blocks: Blocks, blk: number, overlay: Overlay) {
    this.#blocks = blocks
    this.#blk = blk
    this.#overlay = overlay
  }

  /**
   * Calls `use` with the parts of ranges in which the overlay's bytes equal the stored ones. They are returned by no promise: a change
   * could run before its reaction.
   */
  async run(ranges: readonly Extent[], use: (unchanged: readonly Extent[]) => void): Promise<void> {
    const { records, spills } = this.#blocks.connection
    const reply = new Reply(ranges.reduce((sum, { lo, hi }) => sum + hi - lo, 0))
    let at = 0
    for (const { lo, hi } of ranges) {
      await this.#blocks.plan(this.#blk, lo, hi, reply, at)
      at += hi - lo
    }
    await reply.fetch(records)
    // A part of the transaction was stored meanwhile: the records may have been replaced.
    if (spills !== this.#blocks.connection.spills) return
    const stored = joinBytes(reply.pieces())
    const found: { lo: number; hi: number }[] = []
    at = 0
    for (const { lo, hi } of ranges) {
      for (const segment of this.#overlay.segments(lo, hi))
        if (segment.kind === 'bytes')
          addEqual(found, segment, stored.subarray(at + segment.lo - lo, at + segment.hi - lo))
      at += hi - lo
    }
    use(found)
  }
}

/** Adds the chunks of a segment that equal the stored bytes. */
function addEqual(
  found: { lo: number; hi: number }[],
  { lo, bytes }: { readonly lo: number; readonly bytes: Uint8Array },
  stored: Uint8Array,
): void {
  for (let off = 0; off < bytes.length; off += CHUNK_BYTES) {
    const end = Math.min(off + CHUNK_BYTES, bytes.length)
    if (Buffer.compare(bytes.subarray(off, end), stored.subarray(off, end)) !== 0) continue
    const last = found.at(-1)
    if (last?.hi === lo + off) last.hi = lo + end
    else found.push({ lo: lo + off, hi: lo + end })
  }
}
