/**
 * The bytes of a read: first planned, then fetched.
 *
 * While a read is planned, each part is added with its position in the reply: bytes in memory, slices of stored
 * records, and short chunks, whose records are loaded whole. Planning may load tree nodes and layouts, but no data.
 * `fetch` then reads all data in one call for the slices and one for the short chunks. Gaps are zeros.
 *
 * With `into`, all bytes but zeros are put there at their positions, so that the caller sends them without a copy.
 */
import type { Oid } from '../../store/ids.ts'
import type { RecordSlice } from '../../store/changes.ts'
import type { SliceRead } from '../../store/store.ts'
import { pushZeros, shortLivedBytes } from '../bytes.ts'
import type { BytesToRead } from '../objects/kept-reads.ts'
import type { DataReads } from '../objects/records.ts'
import { loadData } from '../zblk/data.ts'

/** Bytes `[from, to)` of a chunk's data, cut at its end, for position `at` of the reply. */
export interface ChunkRead {
  readonly oid: Oid
  readonly at: number
  readonly from: number
  readonly to: number
  /** Called with the length of the chunk's data. @throws CorruptRecordError if it is too long for its slot. */
  readonly check: (length: number) => void
}

/** Bytes `[lo, hi)` of stored block `blk`, for position `at` of the reply. */
interface StoredPart {
  readonly blk: number
  readonly lo: number
  readonly hi: number
  readonly at: number
}

interface Placed {
  readonly at: number
  readonly bytes: Uint8Array
}

export class Reply {
  /** Parts whose data has yet to be planned; the caller's list. */
  readonly stored: StoredPart[] = []
  readonly #length: number
  readonly #into: Uint8Array | undefined
  readonly #placed: Placed[] = []
  readonly #slices: SliceRead[] = []
  readonly #chunks: ChunkRead[] = []

  /** @param into memory of at least `length` bytes. */
  constructor(length: number, into?: Uint8Array) {
    this.#length = length
    this.#into = into
  }

  /** Adds bytes without a copy: they must not change until the reply has been used. */
  place(at: number, bytes: Uint8Array): void {
    if (bytes.length > 0) this.#placed.push({ at, bytes })
  }

  /** Adds a copy of bytes that may change. */
  copy(at: number, bytes: Uint8Array): void {
    if (this.#into === undefined) this.place(at, Uint8Array.from(bytes))
    else {
      this.#into.set(bytes, at)
      this.place(at, this.#into.subarray(at, at + bytes.length))
    }
  }

  slice(at: number, { oid, tid, off, len }: RecordSlice): void {
    if (len === 0) return
    const into = this.#into?.subarray(at, at + len) ?? shortLivedBytes(len)
    this.#slices.push({ oid, tid, off, into })
    this.#placed.push({ at, bytes: into })
  }

  chunk(read: ChunkRead): void {
    this.#chunks.push(read)
  }

  /** What {@link Reply.fetch} reads. */
  get toRead(): BytesToRead {
    const slices = this.#slices.reduce((sum, { into }) => sum + into.length, 0)
    const chunks = this.#chunks.reduce((sum, { from, to }) => sum + to - from, 0)
    return { oids: this.#chunks.map(({ oid }) => oid), slices: this.#slices, bytes: slices + chunks }
  }

  /**
   * Reads the planned data; without a promise if the store does. No read is running when this has ended: the memory may be used again.
   * @throws ObjectNotFoundError, CorruptRecordError, StoreError.
   */
  fetch(records: DataReads): Promise<void> | undefined {
    if (this.#chunks.length > 0) return this.#fetchAll(records)
    const reading = this.#slices.length > 0 ? records.readSlices(this.#slices) : undefined
    return reading instanceof Promise ? reading : undefined
  }

  async #fetchAll(records: DataReads): Promise<void> {
    const slices = this.#slices.length > 0 ? records.readSlices(this.#slices) : undefined
    const ended = await Promise.allSettled([this.#fetchChunks(records), slices])
    for (const one of ended) if (one.status === 'rejected') throw one.reason
  }

  async #fetchChunks(records: DataReads): Promise<void> {
    const data = await loadData(
      records,
      this.#chunks.map(({ oid }) => oid),
    )
    for (const [i, { at, from, to, check }] of this.#chunks.entries()) {
      const bytes = data[i]
      if (bytes === undefined) continue
      check(bytes.length)
      if (from >= bytes.length) continue
      const part = from === 0 && to >= bytes.length ? bytes : bytes.subarray(from, to)
      if (this.#into === undefined) this.place(at, part)
      else this.copy(at, part)
    }
  }

  /** The bytes of the reply, as consecutive pieces, which must not be changed. */
  pieces(): Uint8Array[] {
    const pieces: Uint8Array[] = []
    let end = 0
    let run: { at: number; end: number } | undefined
    const close = (): void => {
      if (run !== undefined && this.#into !== undefined) pieces.push(this.#into.subarray(run.at, run.end))
      run = undefined
    }
    if (this.#placed.length > 1) this.#placed.sort((a, b) => a.at - b.at)
    for (const { at, bytes } of this.#placed) {
      if (at > end) {
        close()
        pushZeros(pieces, at - end)
      }
      end = at + bytes.length
      if (this.#into === undefined) pieces.push(bytes)
      else if (run === undefined) run = { at, end }
      else run.end = end
    }
    close()
    pushZeros(pieces, this.#length - end)
    return pieces
  }
}
