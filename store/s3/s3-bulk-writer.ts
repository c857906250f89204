/**
 * Appends to a Bulk in a bucket. Full segments are uploaded while the next ones are assembled; all are durable, and named in the
 * transaction of the index, before that commits. The rest of a transaction goes into rows of the index if it is short, so that an
 * fsync of little data is one round trip to the index and no upload; later it is moved into a segment (segment-keeper.ts).
 *
 * Objects of a transaction that fails are named by no row, and deleted after a day.
 */
import type { Compression } from '../compression.ts'
import type { SegmentSeal } from '../encryption/segment-seal.ts'
import { recordShortLived } from '../gc-pacing.ts'
import type { BulkRange, BulkWriter } from '../indexed/bulk.ts'
import { SegmentBuilder, SEGMENT_UNIT_BYTES, segmentKey, type Segment, type SegmentId } from './segment.ts'
import type { S3Client } from './client.ts'
import { EXTENT_MAX_BYTES, type Extent, type SegmentMapWriter } from './segment-map.ts'

/** Shorter rests of a transaction go into rows. */
export const ROWS_MAX_BYTES = 1 << 20

/** Maximum uploads in progress: their segments are in memory. */
const UPLOADS_MAX = 4

export interface S3WriterParts {
  readonly client: Pick<S3Client, 'put'>
  readonly map: Pick<SegmentMapWriter, 'add' | 'release'>
  /** Appends to rows, in the transaction in progress. */
  readonly rows: BulkWriter
  readonly databaseId: string
  readonly rowsMaxBytes: number
  readonly compression: Compression
  /** Undefined for a database that is not encrypted. */
  readonly seal?: SegmentSeal | undefined
  /** Returns an id that was never used. */
  readonly nextId: () => SegmentId
  /** Called when positions from `pos` on are discarded. */
  readonly onCut: (pos: number) => void
  /** Called when bytes were added to rows. */
  readonly onRows: (bytes: number) => void
}

export class S3BulkWriter implements BulkWriter {
  readonly #parts: S3WriterParts
  #builder: SegmentBuilder
  /** The position of the first byte in the builder. */
  #start = 0
  #end = 0
  readonly #uploads = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | undefined
  #uploaded: Segment[] = []

  constructor(parts: S3WriterParts) {
    this.#parts = parts
    this.#builder = new SegmentBuilder(parts.compression)
  }

  get end(): number {
    return this.#end
  }

  begin(end: number): void {
    if (end < this.#end) this.#parts.onCut(end)
    this.#builder = new SegmentBuilder(this.#parts.compression)
    this.#start = end
    this.#end = end
    this.#failure = undefined
    this.#uploaded = []
  }

  async append(parts: readonly Uint8Array[]): Promise<void> {
    for (const bytes of parts) {
      for (let off = 0; off < bytes.length;) {
        const added = this.#builder.add(
          this.#end,
          bytes.subarray(off, off + SEGMENT_UNIT_BYTES - this.#builder.unitBytes),
        )
        off += added
        this.#end += added
        if (this.#builder.unitBytes < SEGMENT_UNIT_BYTES) continue
        this.#upload()
        while (this.#uploads.size >= UPLOADS_MAX) await Promise.race(this.#uploads)
        if (this.#failure !== undefined) throw this.#failure.error
      }
    }
  }

  async sync(): Promise<void> {
    const rest = this.#builder.unitBytes
    if (rest >= this.#parts.rowsMaxBytes) this.#upload()
    else if (rest > 0) await this.#addRows()
    await this.settle()
    if (this.#failure !== undefined) throw this.#failure.error
    if (this.#uploaded.length === 0) return
    this.#parts.map.add(this.#uploaded, this.#uploaded.flatMap(extentsOf))
    this.#uploaded = []
  }

  async settle(): Promise<void> {
    while (this.#uploads.size > 0) await Promise.all(this.#uploads)
  }

  async release(ranges: readonly BulkRange[], end: number): Promise<number> {
    const inSegments = await this.#parts.map.release(ranges)
    return inSegments + (await this.#parts.rows.release(ranges, end))
  }

  async #addRows(): Promise<void> {
    const { rows, onRows } = this.#parts
    const bytes = this.#builder.units()
    await rows.begin(this.#start)
    await rows.append(bytes)
    await rows.sync()
    onRows(this.#end - this.#start)
    this.#restart()
  }

  /** Starts to compress and upload the gathered units. */
  #upload(): void {
    const upload = this.#put(this.#builder).catch((error: unknown) => {
      this.#failure ??= { error }
    })
    this.#restart()
    this.#uploads.add(upload)
    void upload.then(() => this.#uploads.delete(upload))
  }

  async #put(builder: SegmentBuilder): Promise<void> {
    const { client, nextId, databaseId, seal } = this.#parts
    const { segment, object } = await builder.finish(nextId(), databaseId, seal)
    recordShortLived(segment.bytes)
    await client.put(segmentKey(segment), object)
    this.#uploaded.push(segment)
  }

  #restart(): void {
    this.#builder = new SegmentBuilder(this.#parts.compression)
    this.#start = this.#end
  }
}

/** The extents of all positions of a segment: runs of adjacent frames. */
export function extentsOf(segment: Segment): readonly Extent[] {
  const extents: { pos: number; len: number; segment: SegmentId }[] = []
  const id = { epoch: segment.epoch, counter: segment.counter }
  for (let index = 0; index < segment.frames.length; index++) {
    const { pos, len } = segment.frames.at(index)
    const last = extents.at(-1)
    if (last !== undefined && last.pos + last.len === pos && last.len + len <= EXTENT_MAX_BYTES)
      last.len += len
    else extents.push({ pos, len, segment: id })
  }
  return extents
}
