/**
 * Gives room in the log back: the extents that nothing points to, and, where what is left lies so scattered that
 * whole pages are kept for small parts of them, these parts are copied to the log's end, close together.
 *
 * 1. `live`, a bit per {@link GRAIN_BYTES} of the log, tells what is pointed to. A stretch of {@link STRETCH_BYTES} with
 *    little of it is *sparse*.
 * 2. Every revision that lies mostly in sparse stretches is to be moved; what the others point to is `staying`.
 * 3. Revisions that lie in the same bytes (clones) are moved as one, so that they go on sharing them.
 * 4. Extents that lie wholly between what is staying are erased, behind the moving, so that their pages can be used
 *    again by what is moved next.
 *
 * Commits go on meanwhile. They point to bytes at the log's end, which was not looked at, or share bytes that are
 * pointed to already. So before each erase the pack catches up with what was committed, and the writer refuses
 * to erase what a later commit points to. A run of bytes that is damaged stays where it is.
 */
import Database from 'better-sqlite3'
import type { Tid } from '../../store/ids.ts'
import { GRAIN_BYTES } from '../../store/sqlite/log-writer.ts'
import type { PackReader } from '../../store/sqlite/pack-reader.ts'
import type { PackStep, PackStepResult } from '../../store/sqlite/pack-steps.ts'
import { PagedBitmap } from '../../store/sqlite/paged-bitmap.ts'
import { EXTENT_BYTES } from '../../store/sqlite/schema.ts'
import { StepSize } from './step-size.ts'

const STRETCH_BYTES = 256 << 10
/** A stretch with a smaller part than this in use is sparse. */
const DENSE_PART = 0.9
/** Revisions that lie in the same bytes, one overlapping the next, are moved together up to this length. */
const RUN_MAX_BYTES = 8 << 20
const RUN_MAX_ROWS = 4096
const MOVE_MIN_BYTES = 64 << 10
const MOVE_MAX_BYTES = 1 << 20
const ERASE_MIN_BYTES = 256 << 10
const ERASE_MAX_BYTES = 16 << 20
const ERASE_RANGES = 256
const STALE_MAX = 20
const BATCH_ROWS = 1024

/** What a pack of the log needs of the rest. */
export interface LogPackWork {
  readonly reader: PackReader
  /** The grains of `[0, logEnd)` that are pointed to. */
  readonly live: PagedBitmap
  readonly logEnd: number
  readonly step: (step: PackStep) => Promise<PackStepResult>
  /** Called now and then with how far it is: positions of the log out of `logEnd`. */
  readonly pause: (doneBytes: number) => Promise<void> | undefined
}

interface Run {
  readonly pos: number
  end: number
  readonly rows: [oid: number, tid: bigint, pos: number, len: number][]
}

/** Resolves to how many bytes were moved and how many extents erased. */
export async function packLog(
  work: LogPackWork,
): Promise<{ readonly movedBytes: number; readonly erasedExtents: number }> {
  const pack = new LogPack(work)
  try {
    await pack.run()
    return pack
  } finally {
    pack.close()
  }
}

class LogPack {
  movedBytes = 0
  erasedExtents = 0
  readonly #work: LogPackWork
  readonly #staying = new PagedBitmap()
  readonly #moving = new MovingRevisions()
  readonly #moveSize = new StepSize(MOVE_MIN_BYTES, MOVE_MAX_BYTES)
  readonly #eraseSize = new StepSize(ERASE_MIN_BYTES, ERASE_MAX_BYTES)
  /** Up to here everything was erased that can be. */
  #erasedTo = 0
  /** Transactions up to this one are known. */
  #seen: Tid

  constructor(work: LogPackWork) {
    this.#work = work
    this.#seen = work.reader.totals().lastTid
  }

  close(): void {
    this.#staying.close()
    this.#moving.close()
  }

  async run(): Promise<void> {
    await this.#choose()
    let runs: Run[] = []
    let bytes = 0
    for (const run of this.#runs()) {
      runs.push(run)
      bytes += run.end - run.pos
      if (bytes < this.#moveSize.value) continue
      await this.#move(runs)
      await this.#erase(run.pos)
      runs = []
      bytes = 0
    }
    if (runs.length > 0) await this.#move(runs)
    await this.#erase(this.#work.logEnd)
  }

  /** Sorts the revisions into those that move and those that stay. */
  async #choose(): Promise<void> {
    const { reader, logEnd, pause } = this.#work
    const isSparse = this.#findSparse()
    let count = 0
    for (const { oid, tid, pos, len } of reader.entries()) {
      if (++count % BATCH_ROWS === 0) await pause(0)
      if (pos === undefined || len === 0 || pos >= logEnd) continue
      if (isMostly(isSparse, pos, len)) this.#moving.add(pos, len, oid, tid)
      else this.#stay(pos, len)
    }
    isSparse.close()
  }

  /** The stretches that are in use in part, and in small part. */
  #findSparse(): PagedBitmap {
    const { live, logEnd } = this.#work
    const sparse = new PagedBitmap()
    const end = Math.ceil(logEnd / GRAIN_BYTES)
    for (let grain = live.find(true, 0, end); grain < end;) {
      const stretch = Math.floor((grain * GRAIN_BYTES) / STRETCH_BYTES)
      const next = ((stretch + 1) * STRETCH_BYTES) / GRAIN_BYTES
      const first = (stretch * STRETCH_BYTES) / GRAIN_BYTES
      const hi = Math.min(next, end)
      if (live.count(first, hi) < (hi - first) * DENSE_PART) sparse.add(stretch)
      grain = live.find(true, hi, end)
    }
    return sparse
  }

  #stay(pos: number, len: number): void {
    this.#staying.addRange(Math.floor(pos / GRAIN_BYTES), Math.ceil((pos + len) / GRAIN_BYTES))
  }

  /** What is to be moved, in the order of positions, as runs of bytes that some revisions lie in. */
  *#runs(): Generator<Run> {
    let run: Run | undefined
    for (const row of this.#moving.inOrder()) {
      const [, , pos, len] = row
      if (run === undefined || pos >= run.end) {
        if (run !== undefined) yield run
        run = { pos, end: pos + len, rows: [row] }
        continue
      }
      const end = Math.max(run.end, pos + len)
      if (end - run.pos > RUN_MAX_BYTES || run.rows.length === RUN_MAX_ROWS) this.#stay(pos, len)
      else {
        run.end = end
        run.rows.push(row)
      }
    }
    if (run !== undefined) yield run
  }

  async #move(runs: readonly Run[]): Promise<void> {
    const { step, pause } = this.#work
    const rows = runs.flatMap(({ rows }, run) => rows.map(([oid, , pos, len]) => [run, oid, pos, len]))
    const { bytes, damaged, durationMs } = await step({
      kind: 'move',
      runs: Float64Array.from(runs.flatMap(({ pos, end }) => [pos, end - pos])),
      rows: Float64Array.from(rows.flat()),
      tids: BigInt64Array.from(runs.flatMap(({ rows }) => rows.map(([, tid]) => tid))),
    })
    this.#moveSize.took(durationMs)
    this.movedBytes += bytes
    for (const index of damaged) {
      const run = runs[index]
      if (run !== undefined) this.#stay(run.pos, run.end - run.pos)
    }
    await pause(runs[0]?.pos ?? 0)
  }

  /** Erases what lies before `limit`. */
  async #erase(limit: number): Promise<void> {
    const { step, pause, reader } = this.#work
    // An extent that lies across the last limit may be free as a whole now.
    this.#erasedTo = Math.max(0, this.#erasedTo - EXTENT_BYTES)
    for (;;) {
      const { ranges, next } = this.#findErasable(limit)
      if (ranges.length > 0) {
        for (let tries = 0; tries < STALE_MAX; tries++) {
          const { isStale, rows, durationMs } = await step({
            kind: 'erase',
            asOf: this.#seen,
            ranges: Float64Array.from(ranges),
          })
          this.#eraseSize.took(durationMs)
          this.erasedExtents += rows
          if (!isStale) break
          this.#catchUp(reader)
        }
      }
      this.#erasedTo = next
      if (next >= limit) return
      await pause(next)
    }
  }

  /** Ranges with extents in them that nothing points to, a step's worth, and where to go on. */
  #findErasable(limit: number): { readonly ranges: readonly number[]; readonly next: number } {
    const { reader } = this.#work
    this.#catchUp(reader)
    const ranges: number[] = []
    const end = Math.ceil(limit / GRAIN_BYTES)
    let bytes = 0
    let pos = this.#erasedTo
    while (pos < limit && bytes < this.#eraseSize.value && ranges.length < ERASE_RANGES) {
      const lo = this.#staying.find(false, Math.floor(pos / GRAIN_BYTES), end) * GRAIN_BYTES
      const hi = this.#staying.find(true, lo / GRAIN_BYTES, end) * GRAIN_BYTES
      const extent = reader.nextExtent(lo)
      if (extent === undefined) return { ranges, next: limit }
      if (extent.end > hi) {
        pos = Math.max(hi, extent.pos)
        continue
      }
      const part = Math.min(hi, Math.max(extent.pos + this.#eraseSize.value, extent.end))
      ranges.push(extent.pos, part)
      bytes += part - extent.pos
      // An extent may lie across the end of this part.
      pos = part < hi ? Math.max(part - EXTENT_BYTES, extent.pos + GRAIN_BYTES) : hi
    }
    return { ranges, next: Math.min(pos, limit) }
  }

  /** What was committed meanwhile stays where it points. */
  #catchUp(reader: PackReader): void {
    const { lastTid } = reader.totals()
    if (lastTid === this.#seen) return
    for (const [pos, len] of reader.usedSince(this.#seen)) if (pos < this.#work.logEnd) this.#stay(pos, len)
    this.#seen = lastTid
  }
}

function isMostly(sparse: PagedBitmap, pos: number, len: number): boolean {
  let bytes = 0
  for (let at = pos; at < pos + len;) {
    const stretch = Math.floor(at / STRETCH_BYTES)
    const end = Math.min((stretch + 1) * STRETCH_BYTES, pos + len)
    if (sparse.has(stretch)) bytes += end - at
    at = end
  }
  return bytes * 2 > len
}

/** Revisions that are to be moved, sorted by position in a temporary file. */
class MovingRevisions {
  readonly #db = new Database('')
  readonly #insert: Database.Statement<[number, number, bigint, number]>
  readonly #next: Database.Statement<
    [number, number, bigint, number],
    [oid: number, tid: bigint, pos: number, len: number]
  >

  constructor() {
    this.#db.pragma('journal_mode = OFF')
    this.#db.pragma('cache_size = -8192')
    this.#db.exec(
      'CREATE TABLE moving (pos INTEGER, oid INTEGER, tid INTEGER, len INTEGER, PRIMARY KEY (pos, oid, tid)) WITHOUT ROWID',
    )
    this.#insert = this.#db.prepare('INSERT OR IGNORE INTO moving VALUES (?, ?, ?, ?)')
    this.#next = this.#db
      .prepare<[number, number, bigint, number], [number, bigint, number, number]>(
        `SELECT CAST(oid AS REAL), tid, CAST(pos AS REAL), CAST(len AS REAL) FROM moving
         WHERE (pos, oid, tid) > (?, ?, ?) ORDER BY pos, oid, tid LIMIT ?`,
      )
      .safeIntegers()
      .raw(true)
    this.#db.exec('BEGIN')
  }

  add(pos: number, len: number, oid: number, tid: bigint): void {
    this.#insert.run(pos, oid, tid, len)
  }

  *inOrder(): Generator<[oid: number, tid: bigint, pos: number, len: number]> {
    let [lastPos, lastOid, lastTid] = [-1, 0, 0n]
    for (;;) {
      const rows = this.#next.all(lastPos, lastOid, lastTid, BATCH_ROWS)
      yield* rows
      const last = rows.at(-1)
      if (last === undefined) return
      ;[lastOid, lastTid, lastPos] = last
    }
  }

  close(): void {
    this.#db.close()
  }
}
