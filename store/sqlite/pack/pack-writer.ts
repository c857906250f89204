/** Runs the steps of a pack (pack-steps.ts) in the writer's thread. */
import { randomUUID } from 'node:crypto'
import type { Database, Statement } from 'better-sqlite3'
import type { Checkpoints } from '../writer/checkpoints.ts'
import { BulkDamageError } from '../../indexed/bulk.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { lastLogEnd } from '../log.ts'
import { SEGMENT_BYTES, segmentOf, tailOf } from '../../segment-files/log-layout.ts'
import { type EraseStep, type PackStepResult, RANGE_FIELDS } from '../../indexed/pack/pack-steps.ts'
import type { SqlitePackStep } from './sqlite-pack-step.ts'

/** A row of `meta` that is written to sync everything before it. Its value changes each time, else SQLite would skip the write. */
const SYNCED = 'pack synced'

type Done = Partial<Omit<PackStepResult, 'durationMs'>>

export class PackWriter {
  readonly #db: Database
  readonly #files: LogFiles
  readonly #checkpoints: Checkpoints
  readonly #note: Statement<[string, string]>
  readonly #drop: Statement<[number, bigint], number>
  readonly #discount: Statement<[number, number, bigint]>
  readonly #forget: Statement<[bigint]>
  readonly #used: Statement<[bigint], [pos: number, len: number]>
  /** Whether a drop, of an earlier process perhaps, may not be on the disk yet. */
  #isUnsynced = true

  constructor(db: Database, files: LogFiles, checkpoints: Checkpoints) {
    this.#db = db
    this.#files = files
    this.#checkpoints = checkpoints
    this.#note = db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)')
    this.#drop = db
      .prepare<[number, bigint], number>(
        `DELETE FROM revision WHERE oid = ? AND tid = ?
         RETURNING ifnull(length(head), 0) + len + ifnull(length(tail), 0)`,
      )
      .pluck()
    this.#discount = db.prepare('UPDATE txn SET objects = objects - ?, bytes = bytes - ? WHERE tid = ?')
    this.#forget = db.prepare('DELETE FROM txn WHERE tid = ?')
    this.#used = db
      .prepare<[bigint], [number, number]>(
        'SELECT pos, len FROM revision INDEXED BY revision_by_tid WHERE tid > ? AND pos IS NOT NULL',
      )
      .raw(true)
  }

  run(step: SqlitePackStep): PackStepResult {
    const start = performance.now()
    const done = this.#do(step)
    return {
      rows: 0,
      bytes: 0,
      isStale: false,
      ...done,
      durationMs: performance.now() - start,
    }
  }

  #do(step: SqlitePackStep): Done {
    switch (step.kind) {
      case 'note':
        // The caller relies on it at once: it must survive a crash.
        this.#note.run(step.name, step.value)
        return {}
      case 'drop':
        return this.#unsynced(() => this.#dropRevisions(step.oids, step.tids))
      case 'forget':
        return this.#unsynced(() => {
          for (const tid of step.tids) this.#forget.run(tid)
          return { rows: step.tids.length }
        })
      case 'erase':
        return this.#eraseRanges(step)
      case 'give back':
        return this.#unsynced(() => {
          this.#db.pragma(`incremental_vacuum(${step.pages})`)
          return {}
        })
      case 'settle':
        this.#checkpoints.settle()
        return {}
      default:
        return step satisfies never
    }
  }

  #unsynced(work: () => Done): Done {
    this.#isUnsynced = true
    this.#db.pragma('synchronous = NORMAL')
    try {
      return this.#db.transaction(work).immediate()
    } finally {
      this.#db.pragma('synchronous = FULL')
    }
  }

  #dropRevisions(oids: Float64Array, tids: BigInt64Array): Done {
    const dropped = new Map<bigint, { objects: number; bytes: number }>()
    let rows = 0
    for (let index = 0; index < oids.length; index++) {
      const tid = tids[index] ?? 0n
      const bytes = this.#drop.get(oids[index] ?? 0, tid)
      if (bytes === undefined) continue
      const sum = dropped.get(tid) ?? { objects: 0, bytes: 0 }
      dropped.set(tid, { objects: sum.objects + 1, bytes: sum.bytes + bytes })
      rows++
    }
    // The sums of a transaction are those of its kept revisions.
    for (const [tid, { objects, bytes }] of dropped) this.#discount.run(objects, bytes, tid)
    return { rows }
  }

  #eraseRanges({ asOf, ranges }: EraseStep): Done {
    const users = this.#used.all(asOf)
    for (let range = 0; range < ranges.length; range += RANGE_FIELDS) {
      const [lo = 0, hi = 0] = ranges.subarray(range)
      if (users.some(([pos, len]) => pos < hi && pos + len > lo)) return { isStale: true }
    }
    if (this.#isUnsynced) {
      this.#note.run(SYNCED, randomUUID())
      this.#isUnsynced = false
    }
    let bytes = 0
    for (let range = 0; range < ranges.length; range += RANGE_FIELDS) {
      const [lo = 0, hi = 0] = ranges.subarray(range)
      if (this.#erase(lo, hi)) bytes += hi - lo
    }
    return { bytes }
  }

  /** The last segment stays: it is appended to, and shows that the log is there. */
  #erase(lo: number, hi: number): boolean {
    const index = segmentOf(lo)
    if (hi - lo < SEGMENT_BYTES || index >= tailOf(lastLogEnd(this.#db)).index)
      return this.#files.punch(lo, hi)
    try {
      this.#files.remove(index)
      return true
    } catch (error) {
      // The segment is gone, or another database's: there is nothing to give back.
      if (error instanceof BulkDamageError) return false
      throw error
    }
  }
}
