/**
 * A Bulk in rows of the table `bulk`, for a database without other storage than its server. A row is an extent: at most
 * {@link EXTENT_BYTES} of whole units, which do not cross a multiple of that length, with the units' checksums.
 */
import {
  BulkDamageError,
  type BulkGap,
  type BulkRange,
  type BulkRead,
  type BulkScan,
  type BulkWriter,
} from '../indexed/bulk.ts'
import { verifyByReading } from '../indexed/check/verify.ts'
import { type SegmentOpener, type SegmentSeal, UNIT_SEAL_BYTES } from '../encryption/segment-seal.ts'
import { SUM_BYTES, UNIT_BYTES, unitDown, unitSum } from '../indexed/frame.ts'
import type { Pipeline } from './pipeline.ts'
import type { Queries } from './postgres-index.ts'
import type { Cells, Value } from './session.ts'
import { bigintArray, bytesOf, numberOf } from './values.ts'

/** Maximum length of an extent. Releasing a part of one rewrites its row, so it is short. */
const EXTENT_BYTES = 128 << 10

/** What is stored beside the units, for each: its checksum, and if it is encrypted, its nonce and tag. */
interface SumsForm {
  readonly bytes: number
  readonly read: string
  readonly release: string
}

const formOf = (bytes: number): SumsForm => {
  const form = { bytes, read: '', release: '' }
  return { bytes, read: readBulk(form), release: release(form) }
}

/** Maximum bytes requested by one statement. */
const ANSWER_BYTES = 2 << 20

const readBulk = (sums: SumsForm): string => `
  SELECT k.number, b.at,
    substring(b.units FROM (b.at - b.pos)::integer + 1 FOR (b.till - b.at)::integer),
    substring(b.sums FROM ((b.at - b.pos) / ${UNIT_BYTES} * ${sums.bytes})::integer + 1 FOR ((b.till - b.at) / ${UNIT_BYTES} * ${sums.bytes})::integer)
  FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS k (lo, hi, number)
  CROSS JOIN LATERAL (
    SELECT pos, units, sums, greatest(pos, k.lo) AS at, least(pos + octet_length(units), k.hi) AS till
    FROM zblkfs.bulk WHERE pos > k.lo - ${EXTENT_BYTES} AND pos < k.hi AND pos + octet_length(units) > k.lo
    ORDER BY pos
  ) AS b`
/** Segment length: the unit of a pack's scan. Extents do not cross segments. */
const SEGMENT_BYTES = 64 << 20
// One index search per segment, as each may have millions of rows.
const SEGMENTS = `
  WITH RECURSIVE found (segment) AS (
    (SELECT pos / ${SEGMENT_BYTES} FROM zblkfs.bulk ORDER BY pos LIMIT 1)
    UNION ALL
    SELECT (SELECT pos / ${SEGMENT_BYTES} FROM zblkfs.bulk WHERE pos >= (found.segment + 1) * ${SEGMENT_BYTES} ORDER BY pos LIMIT 1)
    FROM found WHERE found.segment IS NOT NULL
  )
  SELECT segment FROM found WHERE segment IS NOT NULL ORDER BY segment`
const TAKES_ROOM = `
  SELECT 1 FROM zblkfs.bulk WHERE pos > $1 - ${EXTENT_BYTES} AND pos < $2 AND pos + octet_length(units) > $1 LIMIT 1`
const BYTES = "SELECT pg_total_relation_size('zblkfs.bulk')"
// Extents partly within a range are rewritten with their remaining units.
const release = (sums: SumsForm): string => `
  WITH gone AS (
    DELETE FROM zblkfs.bulk AS b USING unnest($1::bigint[], $2::bigint[]) AS k (lo, hi)
    WHERE b.pos > k.lo - ${EXTENT_BYTES} AND b.pos < k.hi AND b.pos + octet_length(b.units) > k.lo
    RETURNING b.pos, b.units, b.sums
  ), extent AS (
    SELECT pos, pos + octet_length(units) AS till, units, sums FROM gone
  ), cut AS (
    SELECT e.*, greatest(k.lo, e.pos) AS lo, least(k.hi, e.till) AS hi,
      lag(k.hi) OVER w AS before, lead(k.lo) OVER w AS after
    FROM extent AS e JOIN unnest($1::bigint[], $2::bigint[]) AS k (lo, hi) ON k.lo < e.till AND k.hi > e.pos
    WINDOW w AS (PARTITION BY e.pos ORDER BY k.lo)
  ), left_over AS (
    SELECT pos, units, sums, coalesce(before, pos) AS lo, lo AS hi FROM cut
    UNION ALL
    SELECT pos, units, sums, hi, till FROM cut WHERE after IS NULL
  ), kept AS (
    INSERT INTO zblkfs.bulk (pos, sums, units)
    SELECT lo, substring(sums FROM ((lo - pos) / ${UNIT_BYTES} * ${sums.bytes})::integer + 1 FOR ((hi - lo) / ${UNIT_BYTES} * ${sums.bytes})::integer),
      substring(units FROM (lo - pos)::integer + 1 FOR (hi - lo)::integer)
    FROM left_over WHERE hi > lo
  )
  SELECT coalesce(sum(hi - lo), 0) FROM cut`
const INSERT = 'INSERT INTO zblkfs.bulk (pos, sums, units) VALUES ($1, $2, $3)'

const PLAIN = formOf(SUM_BYTES)
const SEALED = formOf(SUM_BYTES + UNIT_SEAL_BYTES)

/** Whole units that are read together, and the reads that need them. */
interface Range {
  readonly lo: number
  hi: number
  readonly reads: BulkRead[]
}

export class PostgresBulkReader implements BulkScan {
  readonly #queries: Queries
  readonly #opener: SegmentOpener | undefined

  /** @param opener undefined for a database that is not encrypted. */
  constructor(queries: Queries, opener?: SegmentOpener) {
    this.#queries = queries
    this.#opener = opener
  }

  async read(reads: readonly BulkRead[]): Promise<void> {
    const batches = batchesOf(rangesOf(reads))
    await Promise.all(batches.map(batch => this.#readBatch(batch)))
  }

  async segments(): Promise<readonly BulkRange[]> {
    const rows = await this.#queries.query(SEGMENTS, [], 'segments')
    return rows.map(([index]): BulkRange => {
      const lo = numberOf(index) * SEGMENT_BYTES
      return [lo, lo + SEGMENT_BYTES]
    })
  }

  async isAllocated([lo, hi]: BulkRange): Promise<boolean> {
    return (await this.#queries.query(TAKES_ROOM, [lo, hi], 'takes_room')).length > 0
  }

  async bytes(): Promise<number> {
    const [[bytes] = []] = await this.#queries.query(BYTES, [], 'bulk_bytes')
    return numberOf(bytes)
  }

  verify(range: BulkRange, everyByte: boolean): Promise<readonly BulkGap[]> {
    return verifyByReading(this, range, everyByte)
  }

  async #readBatch(ranges: readonly Range[]): Promise<void> {
    const los = bigintArray(ranges.map(({ lo }) => lo))
    const his = bigintArray(ranges.map(({ hi }) => hi))
    const rows = await this.#queries.query(
      this.#opener === undefined ? PLAIN.read : SEALED.read,
      [los, his],
      this.#opener === undefined ? 'read_bulk' : 'read_sealed_bulk',
    )
    const ends = ranges.map(({ lo }) => lo)
    for (const cells of rows) {
      const index = numberOf(cells[0]) - 1
      const range = ranges[index]
      const { at, units } = unitsOf(cells, this.#opener)
      if (range === undefined || at !== ends[index]) throw new BulkDamageError(MISSING)
      ends[index] = at + units.length
      for (const read of range.reads) copyPart(at, units, read)
    }
    if (ranges.some(({ hi }, index) => ends[index] !== hi)) throw new BulkDamageError(MISSING)
  }
}

const MISSING = 'its bytes are not there'

/** The units of a row of {@link readBulk}, verified and decrypted. */
function unitsOf(
  [, atText, unitsText, sumsText]: Cells,
  opener: SegmentOpener | undefined,
): { readonly at: number; readonly units: Buffer } {
  const at = numberOf(atText)
  const units = bytesOf(unitsText)
  const sums = bytesOf(sumsText)
  const { bytes } = opener === undefined ? PLAIN : SEALED
  if (sums.length * UNIT_BYTES !== units.length * bytes) throw new BulkDamageError(DIFFERS)
  for (let off = 0, sumAt = 0; off < units.length; off += UNIT_BYTES, sumAt += bytes) {
    const unit = units.subarray(off, off + UNIT_BYTES)
    if (unitSum(unit, at + off) !== sums.readBigUInt64LE(sumAt)) throw new BulkDamageError(DIFFERS)
    const seal = sums.subarray(sumAt + SUM_BYTES, sumAt + bytes)
    if (opener?.openUnit(at + off, unit, seal) === false) throw new BulkDamageError(FORGED)
  }
  return { at, units }
}

const DIFFERS = 'its bytes do not have their checksum'
const FORGED = 'its bytes were not encrypted with the key of this database for this place'

function copyPart(at: number, units: Buffer, { pos, into }: BulkRead): void {
  const lo = Math.max(at, pos)
  const hi = Math.min(at + units.length, pos + into.length)
  if (lo < hi) into.set(units.subarray(lo - at, hi - at), lo - pos)
}

/** Merges adjacent reads into ranges of whole units. Bytes between two ranges are not read: they may have been released. */
function rangesOf(reads: readonly BulkRead[]): readonly Range[] {
  const ranges: Range[] = []
  for (const read of [...reads].sort((a, b) => a.pos - b.pos)) {
    if (read.into.length === 0) continue
    const lo = unitDown(read.pos)
    const hi = unitDown(read.pos + read.into.length + UNIT_BYTES - 1)
    const last = ranges.at(-1)
    if (last !== undefined && lo <= last.hi && hi - last.lo <= ANSWER_BYTES) {
      last.hi = Math.max(last.hi, hi)
      last.reads.push(read)
    } else ranges.push({ lo, hi, reads: [read] })
  }
  return ranges
}

/** Groups ranges so that each group fits into one answer; splits longer ranges. */
function batchesOf(ranges: readonly Range[]): readonly (readonly Range[])[] {
  const batches: Range[][] = [[]]
  let bytes = 0
  for (const { lo, hi, reads } of ranges) {
    for (let at = lo; at < hi;) {
      if (bytes >= ANSWER_BYTES) {
        batches.push([])
        bytes = 0
      }
      const end = Math.min(hi, at + ANSWER_BYTES - bytes)
      batches.at(-1)?.push({ lo: at, hi: end, reads })
      bytes += end - at
      at = end
    }
  }
  return batches
}

/** Deletes ranges, as a change of the writer ({@link release}). */
export type Release = (text: string, values: readonly Value[], name: string) => Promise<readonly Cells[]>

/** Appends extents as a part of the transaction of the server that will have the rows that point to them. */
export class PostgresBulkWriter implements BulkWriter {
  readonly #pipeline: () => Pipeline
  readonly #change: Release
  readonly #seal: SegmentSeal | undefined
  /** Receives encrypted units. */
  readonly #sealed = Buffer.allocUnsafeSlow(EXTENT_BYTES)
  readonly #extent = Buffer.allocUnsafeSlow(EXTENT_BYTES)
  /** The start of the extent being filled, and its bytes so far. */
  #start = 0
  #fill = 0

  /** @param pipeline returns the transaction in progress. @param seal undefined for a database that is not encrypted. */
  constructor(pipeline: () => Pipeline, change: Release, seal?: SegmentSeal) {
    this.#pipeline = pipeline
    this.#seal = seal
    this.#change = change
  }

  get end(): number {
    return this.#start + this.#fill
  }

  /** Bytes after `end` were never committed. */
  begin(end: number): void {
    this.#start = end
    this.#fill = 0
  }

  async append(parts: readonly Uint8Array[]): Promise<void> {
    for (const bytes of parts) {
      for (let off = 0; off < bytes.length;) {
        const room = EXTENT_BYTES - (this.#start % EXTENT_BYTES) - this.#fill
        const part = bytes.subarray(off, off + room)
        this.#extent.set(part, this.#fill)
        this.#fill += part.length
        off += part.length
        if (part.length < room) continue
        this.#send()
        const flowing = this.#pipeline().flow()
        if (flowing !== undefined) await flowing
      }
    }
  }

  /** Sends the last extent. It becomes durable with the transaction. */
  sync(): void {
    if (this.#fill > 0) this.#send()
  }

  settle(): void {}

  async release(ranges: readonly BulkRange[]): Promise<number> {
    const los = bigintArray(ranges.map(([lo]) => lo))
    const his = bigintArray(ranges.map(([, hi]) => hi))
    const [[bytes] = []] = await this.#change(
      this.#seal === undefined ? PLAIN.release : SEALED.release,
      [los, his],
      this.#seal === undefined ? 'release' : 'release_sealed',
    )
    return numberOf(bytes)
  }

  #send(): void {
    const plain = this.#extent.subarray(0, this.#fill)
    const units = this.#seal === undefined ? plain : this.#sealed.subarray(0, this.#fill)
    // It copies the bytes.
    const values = [this.#start, sumsOf(this.#start, plain, units, this.#seal), units]
    this.#pipeline().send(INSERT, values, 'insert_bulk')
    this.#start += this.#fill
    this.#fill = 0
  }
}

/** Encrypts units to `into`, and returns what is stored beside them. */
function sumsOf(pos: number, plain: Uint8Array, into: Uint8Array, seal: SegmentSeal | undefined): Buffer {
  const { bytes } = seal === undefined ? PLAIN : SEALED
  const sums = Buffer.allocUnsafe((plain.length / UNIT_BYTES) * bytes)
  for (let off = 0, at = 0; off < plain.length; off += UNIT_BYTES, at += bytes) {
    const unit = into.subarray(off, off + UNIT_BYTES)
    seal?.sealUnit(
      pos + off,
      plain.subarray(off, off + UNIT_BYTES),
      unit,
      sums.subarray(at + SUM_BYTES, at + bytes),
    )
    sums.writeBigUInt64LE(unitSum(unit, pos + off), at)
  }
  return sums
}
