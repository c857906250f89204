/** The segment map of a Bulk in a bucket (store/s3/segment-map.ts), in the tables `segment` and `extent`. */
import type { BulkRange } from '../indexed/bulk.ts'
import {
  EXTENT_MAX_BYTES,
  type Extent,
  type SegmentMap,
  type SegmentMapWriter,
  type SparseSegment,
  type UnnamedSegment,
} from '../s3/segment-map.ts'
import { FrameTable, type Segment, type SegmentId } from '../s3/segment.ts'
import { extentsOf } from '../s3/s3-bulk-writer.ts'
import { BEGIN_CHANGE, retryChange, runChange } from './change.ts'
import { Pipeline } from './pipeline.ts'
import type { Queries } from './postgres-index.ts'
import type { Cells } from './session.ts'
import { bigintArray, byteaArray, bytesOf, numberOf } from './values.ts'
import type { WriterSession } from './writer-session.ts'

const OVERLAPPING = `
  SELECT DISTINCT e.pos, e.len, e.epoch, e.counter
  FROM unnest($1::bigint[], $2::bigint[]) AS k (lo, hi)
  JOIN zblkfs.extent AS e ON e.pos > k.lo - ${EXTENT_MAX_BYTES} AND e.pos < k.hi AND e.pos + e.len > k.lo`
/** Without the extents of an unfinished transaction in parts: their positions may be used again. */
const FIND = `${OVERLAPPING}
  WHERE e.pos < coalesce((SELECT bulk_end FROM zblkfs.txn ORDER BY tid DESC LIMIT 1), 0) ORDER BY e.pos`
const FIND_PARTS = `${OVERLAPPING} ORDER BY e.pos`
const SEGMENTS = `
  SELECT s.epoch, s.counter, s.bytes, s.frames FROM unnest($1::bigint[], $2::bigint[]) AS k (epoch, counter)
  JOIN zblkfs.segment AS s USING (epoch, counter)`
const WINDOWS = `
  WITH RECURSIVE found (number) AS (
    (SELECT pos / $1::bigint FROM zblkfs.extent ORDER BY pos LIMIT 1)
    UNION ALL
    SELECT (SELECT pos / $1::bigint FROM zblkfs.extent WHERE pos >= (found.number + 1) * $1::bigint ORDER BY pos LIMIT 1)
    FROM found WHERE found.number IS NOT NULL
  ), last (number) AS (
    SELECT (pos + len - 1) / $1::bigint FROM (
      SELECT (SELECT pos FROM zblkfs.extent WHERE pos < (found.number + 1) * $1::bigint ORDER BY pos DESC LIMIT 1) AS pos FROM found
    ) AS tail JOIN zblkfs.extent USING (pos)
  )
  SELECT number FROM found WHERE number IS NOT NULL UNION SELECT number FROM last ORDER BY number`
const BYTES = 'SELECT coalesce(sum(bytes), 0) FROM zblkfs.segment WHERE released IS NULL'

const ADD_SEGMENTS = `
  WITH named AS (
    UPDATE zblkfs.writer AS w SET counter = greatest(w.counter, k.counter)
    FROM (SELECT epoch, max(counter) AS counter FROM unnest($1::bigint[], $2::bigint[]) AS s (epoch, counter) GROUP BY epoch) AS k
    WHERE w.epoch = k.epoch
  )
  INSERT INTO zblkfs.segment (epoch, counter, bytes, units, frames)
  SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])`
const ADD_EXTENTS = `
  INSERT INTO zblkfs.extent (pos, len, epoch, counter) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])`
const RELEASE_EMPTY = `
  UPDATE zblkfs.segment AS s SET released = now() WHERE s.released IS NULL
    AND (s.epoch, s.counter) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))
    AND NOT EXISTS (SELECT FROM zblkfs.extent AS e WHERE e.epoch = s.epoch AND e.counter = s.counter)`
const CUT = `
  WITH gone AS (
    DELETE FROM zblkfs.extent AS e USING unnest($1::bigint[], $2::bigint[]) AS k (lo, hi)
    WHERE e.pos > k.lo - ${EXTENT_MAX_BYTES} AND e.pos < k.hi AND e.pos + e.len > k.lo
    RETURNING e.pos, e.len, e.epoch, e.counter
  ), cut AS (
    SELECT e.*, greatest(k.lo, e.pos) AS lo, least(k.hi, e.pos + e.len) AS hi,
      lag(k.hi) OVER w AS before, lead(k.lo) OVER w AS after
    FROM gone AS e JOIN unnest($1::bigint[], $2::bigint[]) AS k (lo, hi) ON k.lo < e.pos + e.len AND k.hi > e.pos
    WINDOW w AS (PARTITION BY e.pos ORDER BY k.lo)
  ), left_over AS (
    SELECT epoch, counter, coalesce(before, pos) AS lo, lo AS hi FROM cut
    UNION ALL
    SELECT epoch, counter, hi, pos + len FROM cut WHERE after IS NULL
  ), kept AS (
    INSERT INTO zblkfs.extent (pos, len, epoch, counter) SELECT lo, hi - lo, epoch, counter FROM left_over WHERE hi > lo
  )
  SELECT epoch, counter, sum(hi - lo) FROM cut GROUP BY epoch, counter`
const REMOVE_EXTENTS = `
  DELETE FROM zblkfs.extent AS e USING unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS k (pos, len, epoch, counter)
  WHERE e.pos = k.pos AND e.len = k.len AND e.epoch = k.epoch AND e.counter = k.counter RETURNING e.pos`
const REMOVE_ROWS = `
  DELETE FROM zblkfs.bulk AS b USING unnest($1::bigint[], $2::bigint[]) AS k (lo, hi)
  WHERE b.pos = k.lo AND octet_length(b.units) = k.hi - k.lo RETURNING b.pos`
const ROWS = `
  SELECT pos, pos + length FROM (
    SELECT pos, length, sum(length) OVER (ORDER BY pos) - length AS before
    FROM (
      SELECT pos, octet_length(units) AS length FROM zblkfs.bulk
      WHERE pos < coalesce((SELECT bulk_end FROM zblkfs.txn ORDER BY tid DESC LIMIT 1), 0) ORDER BY pos LIMIT $2
    ) AS b
  ) AS r WHERE before < $1 ORDER BY pos`
/** Maximum rows in a segment. */
const ROWS_MAX = 4096
const SPARSE = `
  SELECT s.epoch, s.counter, array_to_string(array_agg(e.pos ORDER BY e.pos), ' '), array_to_string(array_agg(e.len ORDER BY e.pos), ' ')
  FROM zblkfs.segment AS s JOIN zblkfs.extent AS e USING (epoch, counter)
  WHERE s.released IS NULL GROUP BY s.epoch, s.counter, s.units HAVING sum(e.len) < $1::float8 * s.units
  ORDER BY min(e.pos) LIMIT $2`
const RELEASED = `
  SELECT epoch, counter FROM zblkfs.segment WHERE released < now() - $1::bigint * interval '1 millisecond'
  ORDER BY epoch, counter LIMIT $2`
const FORGET = `
  DELETE FROM zblkfs.segment AS s USING unnest($1::bigint[], $2::bigint[]) AS k (epoch, counter)
  WHERE s.epoch = k.epoch AND s.counter = k.counter AND s.released IS NOT NULL`
const UNNAMED = `
  SELECT k.epoch, k.counter, EXISTS (SELECT FROM zblkfs.writer AS w WHERE w.epoch = k.epoch AND k.counter <= w.counter)
  FROM unnest($1::bigint[], $2::bigint[]) AS k (epoch, counter)
  WHERE NOT EXISTS (SELECT FROM zblkfs.segment AS s WHERE s.epoch = k.epoch AND s.counter = k.counter)`
const END_EPOCH = 'UPDATE zblkfs.writer SET counter = greatest(counter, $2::bigint) WHERE epoch = $1::bigint'

export class PostgresSegmentMap implements SegmentMap {
  readonly #queries: Queries
  readonly #find: readonly [text: string, name: string]

  /** @param seesParts includes the extents of an unfinished transaction in parts: for its writer. */
  constructor(queries: Queries, seesParts: boolean) {
    this.#queries = queries
    this.#find = seesParts ? [FIND_PARTS, 'find_extents_with_parts'] : [FIND, 'find_extents']
  }

  async find(ranges: readonly BulkRange[]): Promise<readonly Extent[]> {
    const [text, name] = this.#find
    return (await this.#queries.query(text, rangeValues(ranges), name)).map(
      ([pos, len, epoch, counter]): Extent => ({
        pos: numberOf(pos),
        len: numberOf(len),
        segment: { epoch: numberOf(epoch), counter: numberOf(counter) },
      }),
    )
  }

  async segments(ids: readonly SegmentId[]): Promise<readonly Segment[]> {
    const rows = await this.#queries.query(SEGMENTS, idValues(ids), 'find_segments')
    return rows.map(([epoch, counter, bytes, frames]) => ({
      epoch: numberOf(epoch),
      counter: numberOf(counter),
      bytes: numberOf(bytes),
      frames: new FrameTable(bytesOf(frames)),
    }))
  }

  async windows(windowBytes: number): Promise<readonly number[]> {
    return (await this.#queries.query(WINDOWS, [windowBytes], 'windows')).map(([number]) => numberOf(number))
  }

  async bytes(): Promise<number> {
    const [[bytes] = []] = await this.#queries.query(BYTES, [], 'segment_bytes')
    return numberOf(bytes)
  }
}

export class PostgresSegmentMapWriter implements SegmentMapWriter {
  readonly #writer: WriterSession
  readonly #queries: Queries
  readonly #pipeline: () => Pipeline

  /** @param queries reads. @param pipeline returns the transaction in progress. */
  constructor(writer: WriterSession, queries: Queries, pipeline: () => Pipeline) {
    this.#writer = writer
    this.#queries = queries
    this.#pipeline = pipeline
  }

  add(segments: readonly Segment[], extents: readonly Extent[]): void {
    addTo(this.#pipeline(), segments, extents)
  }

  async release(ranges: readonly BulkRange[]): Promise<number> {
    return await this.#change(async pipeline => {
      const rows = await pipeline.ask(CUT, rangeValues(ranges), 'cut_extents')
      const ids = rows.map(idOf)
      await pipeline.commit(RELEASE_EMPTY, idValues(ids), 'release_empty')
      return rows.reduce((sum, [, , bytes]) => sum + numberOf(bytes), 0)
    })
  }

  async move(extents: readonly Extent[], segment: Segment): Promise<boolean> {
    return await this.#change(async pipeline => {
      const removed = await pipeline.ask(REMOVE_EXTENTS, extentValues(extents), 'remove_extents')
      if (removed.length !== extents.length) return false
      addTo(pipeline, [segment], extentsOf(segment))
      await pipeline.commit(RELEASE_EMPTY, idValues(extents.map(extent => extent.segment)), 'release_empty')
      return true
    })
  }

  async replaceRows(rows: readonly BulkRange[], segment: Segment): Promise<boolean> {
    return await this.#change(async pipeline => {
      const removed = await pipeline.ask(REMOVE_ROWS, rangeValues(rows), 'remove_rows')
      if (removed.length !== rows.length) return false
      addTo(pipeline, [segment], [])
      await pipeline.commit(ADD_EXTENTS, extentValues(extentsOf(segment)), 'add_extents')
      return true
    })
  }

  async rows(maxBytes: number): Promise<readonly BulkRange[]> {
    const rows = await this.#queries.query(ROWS, [maxBytes, ROWS_MAX], 'rows_to_move')
    return rows.map(([lo, hi]): BulkRange => [numberOf(lo), numberOf(hi)])
  }

  async sparse(fraction: number, limit: number): Promise<readonly SparseSegment[]> {
    const rows = await this.#queries.query(SPARSE, [fraction, limit], 'sparse_segments')
    return rows.map(cells => {
      const segment = idOf(cells)
      const lens = (cells[3] ?? '').split(' ')
      const extents = (cells[2] ?? '')
        .split(' ')
        .map((pos, index): Extent => ({ pos: numberOf(pos), len: numberOf(lens[index]), segment }))
      return { segment, extents }
    })
  }

  async releasedBefore(ageMs: number, limit: number): Promise<readonly SegmentId[]> {
    return (await this.#queries.query(RELEASED, [ageMs, limit], 'released_segments')).map(idOf)
  }

  async forget(ids: readonly SegmentId[]): Promise<void> {
    await runChange(this.#writer, FORGET, idValues(ids), 'forget_segments')
  }

  async unnamed(ids: readonly SegmentId[]): Promise<readonly UnnamedSegment[]> {
    if (ids.length === 0) return []
    const rows = await this.#queries.query(UNNAMED, idValues(ids), 'unnamed_segments')
    return rows.map(cells => ({ segment: idOf(cells), isOrphan: cells[2] === 't' }))
  }

  async endEpoch({ epoch, counter }: SegmentId): Promise<void> {
    await runChange(this.#writer, END_EPOCH, [String(epoch), String(counter)], 'end_epoch')
  }

  /** Runs statements as a change of the writer; rolls back if `change` does not commit. */
  async #change<T>(change: (pipeline: Pipeline) => Promise<T>): Promise<T> {
    return await retryChange(this.#writer, async session => {
      const pipeline = new Pipeline(session)
      let isDone = false
      try {
        await pipeline.ask(BEGIN_CHANGE, [this.#writer.epoch], 'begin_change')
        const result = await change(pipeline)
        isDone = result !== false
        return result
      } finally {
        if (!isDone) await pipeline.rollback()
      }
    })
  }
}

function addTo(pipeline: Pipeline, segments: readonly Segment[], extents: readonly Extent[]): void {
  const values = [
    ...idValues(segments),
    bigintArray(segments.map(({ bytes }) => bytes)),
    bigintArray(segments.map(({ frames }) => frames.unitBytes)),
    byteaArray(segments.map(({ frames }) => frames.encoded)),
  ]
  pipeline.send(ADD_SEGMENTS, values, 'add_segments')
  if (extents.length > 0) pipeline.send(ADD_EXTENTS, extentValues(extents), 'add_extents')
}

const idOf = ([epoch, counter]: Cells): SegmentId => ({ epoch: numberOf(epoch), counter: numberOf(counter) })

const idValues = (ids: readonly SegmentId[]): readonly Buffer[] => [
  bigintArray(ids.map(({ epoch }) => epoch)),
  bigintArray(ids.map(({ counter }) => counter)),
]

const rangeValues = (ranges: readonly BulkRange[]): readonly Buffer[] => [
  bigintArray(ranges.map(([lo]) => lo)),
  bigintArray(ranges.map(([, hi]) => hi)),
]

const extentValues = (extents: readonly Extent[]): readonly Buffer[] => [
  bigintArray(extents.map(({ pos }) => pos)),
  bigintArray(extents.map(({ len }) => len)),
  ...idValues(extents.map(({ segment }) => segment)),
]
