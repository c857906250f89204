/**
 * Keeps a bucket in order while its database is written:
 *
 * 1. Bytes in rows are moved into segments once they fill one.
 * 2. After a pack, segments of which less than half is live are rewritten: their live bytes go into new ones.
 * 3. Released segments are deleted an hour later. No extent names them: a pack cuts only what no moment of any reader needs,
 *    and a reader that still remembers a moved extent looks it up again.
 * 4. Objects that no row names are deleted when they are older than a day: uploads of transactions that failed.
 *
 * **In doubt, nothing is deleted.** What a writer uploaded after the last transaction that this state of the database has of it is
 * kept: if the database was restored from a backup, a later state of it names these objects. If the bucket has segments of an epoch that this database has not assigned, the database was
 * restored from a backup, or has a twin that writes into the same bucket: then nothing is deleted any more.
 */
import type { Compression } from '../compression.ts'
import type { SegmentSeal } from '../encryption/segment-seal.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf, WriterGoneError } from '../errors.ts'
import { BulkDamageError, type BulkRange, type BulkRead, type BulkReader } from '../indexed/bulk.ts'
import { newestEpochAfter } from './bucket.ts'
import type { S3Client } from './client.ts'
import {
  parseSegmentKey,
  SegmentBuilder,
  SEGMENT_UNIT_BYTES,
  segmentKey,
  SEGMENTS,
  type Segment,
  type SegmentId,
} from './segment.ts'
import type { Extent, SegmentMapWriter } from './segment-map.ts'

export interface KeeperAges {
  /** How long a released segment stays. */
  readonly releasedMs: number
  /** How long an object that no row names stays. */
  readonly orphanMs: number
}

const AGES: KeeperAges = { releasedMs: 3_600_000, orphanMs: 86_400_000 }

/** Time between two looks for objects to delete. */
const TIDY_INTERVAL_MS = 600_000
const FIRST_TIDY_MS = 60_000
/** Listing a bucket costs requests. */
const ORPHANS_INTERVAL_MS = 86_400_000
/** Segments with a smaller live part are rewritten. */
const SPARSE = 0.5
const SPARSE_PAGE = 64
const DELETE_PAGE = 256
const LIST_PAGE = 1000
/** Wait after a failure. */
const RETRY_MS = 10_000

/** The note with the time at which orphans were last looked for. */
const ORPHANS_NOTE = 'orphans swept'
/** The note that records doubt about the bucket. */
export const DOUBT_NOTE = 'bucket doubt'

export interface KeeperParts {
  /** The keeper closes it. */
  readonly client: S3Client
  readonly map: SegmentMapWriter
  readonly reader: BulkReader
  /** Of the segments that it writes. */
  readonly compression: Compression
  /** Undefined for a database that is not encrypted. */
  readonly seal?: SegmentSeal | undefined
  readonly databaseId: string
  /** This writer's epoch. */
  readonly epoch: () => number
  /** The last epoch that the database has assigned: other writers may have later ones than this one. */
  readonly newestEpoch: () => Promise<number>
  readonly nextId: () => SegmentId
  /** Runs work while no commit and no step of a pack is in progress. */
  readonly exclusive: <T>(work: () => Promise<T>) => Promise<T>
  readonly note: (name: string) => Promise<string | undefined>
  readonly setNote: (name: string, value: string) => Promise<void>
  readonly report: (message: string) => void
  readonly ages?: Partial<KeeperAges>
}

export class SegmentKeeper {
  readonly #parts: KeeperParts
  readonly #ages: KeeperAges
  readonly #closing = new AbortController()
  /** Bytes in rows, approximately. */
  #rowBytes = 0
  #work: Promise<unknown> = Promise.resolve()
  #isMoving = false
  #timer: NodeJS.Timeout

  constructor(parts: KeeperParts) {
    this.#parts = parts
    this.#ages = { ...AGES, ...parts.ages }
    this.#timer = setTimeout(() => this.#tidyRegularly(), FIRST_TIDY_MS)
    this.#timer.unref()
  }

  /** Takes note of bytes that were added to rows. */
  addRows(bytes: number): void {
    this.#rowBytes += bytes
    if (this.#rowBytes < SEGMENT_UNIT_BYTES || this.#isMoving) return
    this.#isMoving = true
    void this.#attempt(() => this.#moveRows()).finally(() => (this.#isMoving = false))
  }

  /** After a pack: rewrites sparse segments, and deletes what may be deleted. */
  async afterPack(): Promise<void> {
    await this.#queue(async () => {
      await this.#compact()
      await this.#tidy()
    })
  }

  /** Moves bytes in rows into segments, except a rest that fills none; deletes what may be deleted. */
  async tidy(): Promise<void> {
    await this.#queue(async () => {
      await this.#moveRows()
      await this.#tidy()
    })
  }

  /** Resolves when no work is in progress. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#closing.abort()
    this.#parts.client.close()
    await this.#work
  }

  #tidyRegularly(): void {
    void this.#attempt(() => this.tidy()).then(isOver => {
      if (isOver || this.#closing.signal.aborted) return
      this.#timer = setTimeout(() => this.#tidyRegularly(), TIDY_INTERVAL_MS)
      this.#timer.unref()
    })
  }

  /** Reports a failure, which the next attempt may not have. @returns whether there is none, because the writer is fenced. */
  async #attempt(work: () => Promise<void>): Promise<boolean> {
    try {
      await this.#queue(work)
    } catch (error) {
      if (this.#closing.signal.aborted || error instanceof WriterGoneError) return true
      this.#parts.report(
        `work on ${this.#parts.client.place} in the background failed, and is repeated later: ${messageOf(error)}`,
      )
      await sleep(RETRY_MS, undefined, { signal: this.#closing.signal, ref: false }).catch(() => undefined)
    }
    return false
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#work.then(() => {
      this.#closing.signal.throwIfAborted()
      return work()
    })
    this.#work = done.catch(() => undefined)
    return done
  }

  async #moveRows(): Promise<void> {
    const { map, exclusive } = this.#parts
    for (;;) {
      const rows = fitting(await map.rows(SEGMENT_UNIT_BYTES))
      this.#rowBytes = rows.reduce((sum, [lo, hi]) => sum + hi - lo, 0)
      if (this.#rowBytes < SEGMENT_UNIT_BYTES / 2) return
      const segment = await this.#write(rows)
      if (!(await exclusive(async () => await map.replaceRows(rows, segment)))) return
    }
  }

  async #compact(): Promise<void> {
    const { map } = this.#parts
    const skipped = new Set<string>()
    for (;;) {
      const page = await map.sparse(SPARSE, SPARSE_PAGE)
      const sparse = page.filter(({ segment }) => !skipped.has(segmentKey(segment)))
      if (sparse.length === 0) return
      const chosen: Extent[] = []
      let bytes = 0
      for (const { segment, extents } of sparse) {
        const live = extents.reduce((sum, { len }) => sum + len, 0)
        if (chosen.length > 0 && bytes + live > SEGMENT_UNIT_BYTES) break
        // If it cannot be rewritten now, it stays.
        skipped.add(segmentKey(segment))
        chosen.push(...extents)
        bytes += live
      }
      await this.#rewrite(chosen.toSorted((a, b) => a.pos - b.pos))
    }
  }

  async #rewrite(extents: readonly Extent[]): Promise<void> {
    const { map, exclusive } = this.#parts
    try {
      const segment = await this.#write(extents.map(({ pos, len }): BulkRange => [pos, pos + len]))
      await exclusive(async () => await map.move(extents, segment))
    } catch (error) {
      // fsck reports damage.
      if (!(error instanceof BulkDamageError)) throw error
    }
  }

  /** Uploads a segment with the bytes of ranges, which ascend. */
  async #write(ranges: readonly BulkRange[]): Promise<Segment> {
    const { reader, client, nextId, databaseId, compression, seal } = this.#parts
    const reads = ranges.map(([lo, hi]): BulkRead => ({ pos: lo, into: Buffer.allocUnsafeSlow(hi - lo) }))
    await reader.read(reads)
    const builder = new SegmentBuilder(compression)
    for (const { pos, into } of reads)
      for (let off = 0; off < into.length;) off += builder.add(pos + off, into.subarray(off))
    const { segment, object } = await builder.finish(nextId(), databaseId, seal)
    await client.put(segmentKey(segment), object)
    return segment
  }

  async #tidy(): Promise<void> {
    if (await this.#isInDoubt()) return
    await this.#deleteReleased()
    await this.#deleteOrphans()
  }

  /** Whether objects may belong to another state of the database than the present one. */
  async #isInDoubt(): Promise<boolean> {
    const { client, epoch, newestEpoch, note, setNote, report } = this.#parts
    if ((await note(DOUBT_NOTE)) !== undefined) return true
    const later = await newestEpochAfter(client, epoch())
    // An epoch is assigned before it has segments, so in this order none is missed.
    if (later === undefined || later <= (await newestEpoch())) return false
    await setNote(DOUBT_NOTE, String(later))
    report(doubtMessage(client.place))
    return true
  }

  async #deleteReleased(): Promise<void> {
    const { client, map, exclusive } = this.#parts
    for (;;) {
      const ids = await map.releasedBefore(this.#ages.releasedMs, DELETE_PAGE)
      if (ids.length === 0) return
      await Promise.all(ids.map(id => client.delete(segmentKey(id))))
      await exclusive(async () => await map.forget(ids))
    }
  }

  async #deleteOrphans(): Promise<void> {
    const { client, map, note, setNote, report } = this.#parts
    const last = Number((await note(ORPHANS_NOTE)) ?? 0)
    if (Math.abs(Date.now() - last) < Math.min(ORPHANS_INTERVAL_MS, this.#ages.orphanMs)) return
    let kept = 0
    for (let after = ''; ;) {
      this.#closing.signal.throwIfAborted()
      const objects = await client.list(SEGMENTS, after, LIST_PAGE)
      const end = objects.at(-1)
      if (end === undefined) break
      after = end.key
      const old = objects.flatMap(({ key, ageMs }) => {
        const id = parseSegmentKey(key)
        return id !== undefined && ageMs > this.#ages.orphanMs ? [id] : []
      })
      const unnamed = await map.unnamed(old)
      const orphans = unnamed.filter(({ isOrphan }) => isOrphan)
      kept += unnamed.length - orphans.length
      await Promise.all(orphans.map(({ segment }) => client.delete(segmentKey(segment))))
    }
    await setNote(ORPHANS_NOTE, String(Date.now()))
    if (kept > 0) report(keptMessage(client.place, kept))
  }
}

export const doubtMessage = (place: string): string =>
  `${place} has segments that a later state of this database, or a copy of it, has written: nothing is deleted there any more`

const keptMessage = (place: string, objects: number): string =>
  `${place} has ${objects} segments that no transaction of this database names. They are kept: a writer was killed during uploads, or a later state of this database needs them`

/** The first rows that fit into a segment. */
function fitting(rows: readonly BulkRange[]): readonly BulkRange[] {
  let bytes = 0
  return rows.filter(([lo, hi]) => (bytes += hi - lo) <= SEGMENT_UNIT_BYTES)
}
