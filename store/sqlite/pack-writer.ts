/** Does the steps of a pack (pack-steps.ts) in the writer's thread. */
import type { Database, Statement } from 'better-sqlite3'
import type { Checkpoints } from './checkpoints.ts'
import { rowSum } from './checksum.ts'
import type { Committer } from './committer.ts'
import { LogDamageError, LogReader } from './log-reader.ts'
import {
  type EraseStep,
  type MoveStep,
  type PackStep,
  type PackStepResult,
  ROW_FIELDS,
  RUN_FIELDS,
} from './pack-steps.ts'

type Done = Partial<Omit<PackStepResult, 'durationMs'>>

export class PackWriter {
  readonly #db: Database
  readonly #committer: Committer
  readonly #checkpoints: Checkpoints
  readonly #log: LogReader
  readonly #note: Statement<[string, string]>
  readonly #drop: Statement<[number, bigint], number>
  readonly #discount: Statement<[number, number, bigint]>
  readonly #forget: Statement<[bigint]>
  readonly #bytes: Statement<[number, bigint], [Buffer | null, Buffer | null]>
  readonly #repoint: Statement<[number, number, number, bigint, number, number]>
  readonly #used: Statement<[bigint], [pos: number, len: number]>
  readonly #erase: Statement<[number, number, number]>

  constructor(db: Database, committer: Committer, checkpoints: Checkpoints) {
    this.#db = db
    this.#committer = committer
    this.#checkpoints = checkpoints
    this.#log = new LogReader(db)
    this.#note = db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)')
    this.#drop = db
      .prepare<[number, bigint], number>(
        `DELETE FROM revision WHERE oid = ? AND tid = ?
         RETURNING ifnull(length(head), 0) + len + ifnull(length(tail), 0)`,
      )
      .pluck()
    this.#discount = db.prepare('UPDATE txn SET objects = objects - ?, bytes = bytes - ? WHERE tid = ?')
    this.#forget = db.prepare('DELETE FROM txn WHERE tid = ?')
    this.#bytes = db
      .prepare<[number, bigint], [Buffer | null, Buffer | null]>(
        'SELECT head, tail FROM revision WHERE oid = ? AND tid = ?',
      )
      .raw(true)
    this.#repoint = db.prepare(
      'UPDATE revision SET pos = ?, sum = ? WHERE oid = ? AND tid = ? AND pos = ? AND len = ?',
    )
    this.#used = db
      .prepare<[bigint], [number, number]>(
        'SELECT pos, len FROM revision INDEXED BY revision_by_tid WHERE tid > ? AND pos IS NOT NULL',
      )
      .raw(true)
    this.#erase = db.prepare('DELETE FROM log WHERE pos >= ? AND pos < ? AND pos + length(bytes) <= ?')
  }

  run(step: PackStep): PackStepResult {
    const start = performance.now()
    const done = this.#do(step)
    return {
      rows: 0,
      bytes: 0,
      damaged: [],
      isStale: false,
      ...done,
      durationMs: performance.now() - start,
    }
  }

  #do(step: PackStep): Done {
    switch (step.kind) {
      case 'note':
        // What is noted here is relied on at once, and must outlive a crash.
        this.#note.run(step.name, step.value)
        return {}
      case 'drop':
        return this.#unsynced(() => this.#dropRevisions(step.oids, step.tids))
      case 'forget':
        return this.#unsynced(() => {
          for (const tid of step.tids) this.#forget.run(tid)
          return { rows: step.tids.length }
        })
      case 'move':
        return this.#unsynced(() => this.#move(step))
      case 'erase':
        return this.#unsynced(() => this.#eraseRanges(step))
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
    // What is told of a transaction is true of what is kept of it.
    for (const [tid, { objects, bytes }] of dropped) this.#discount.run(objects, bytes, tid)
    return { rows }
  }

  #move({ runs, rows, tids }: MoveStep): Done {
    const damaged: number[] = []
    const moved: number[] = []
    let bytes = 0
    this.#committer.extendLog(append => {
      for (let run = 0; run * RUN_FIELDS < runs.length; run++) {
        const [pos = 0, len = 0] = runs.subarray(run * RUN_FIELDS)
        const copy = Buffer.allocUnsafeSlow(len)
        try {
          this.#log.read(pos, len).copy(pos, len, copy, 0)
        } catch (error) {
          if (!(error instanceof LogDamageError)) throw error
          damaged.push(run)
          continue
        }
        moved[run] = append(copy) - pos
        bytes += len
      }
    })
    let count = 0
    for (let row = 0; row < tids.length; row++) {
      const [run = 0, oid = 0, pos = 0, len = 0] = rows.subarray(row * ROW_FIELDS)
      const distance = moved[run]
      if (distance !== undefined) count += this.#point(oid, tids[row] ?? 0n, pos, len, pos + distance)
    }
    return { rows: count, bytes, damaged }
  }

  #point(oid: number, tid: bigint, pos: number, len: number, newPos: number): number {
    const found = this.#bytes.get(oid, tid)
    if (found === undefined) return 0
    const sum = rowSum(oid, tid, found[0], newPos, len, found[1])
    return this.#repoint.run(newPos, sum, oid, tid, pos, len).changes
  }

  #eraseRanges({ asOf, ranges }: EraseStep): Done {
    const users = this.#used.all(asOf)
    for (let range = 0; range < ranges.length; range += RUN_FIELDS) {
      const [lo = 0, hi = 0] = ranges.subarray(range)
      if (users.some(([pos, len]) => pos < hi && pos + len > lo)) return { isStale: true }
    }
    let rows = 0
    for (let range = 0; range < ranges.length; range += RUN_FIELDS) {
      const [lo = 0, hi = 0] = ranges.subarray(range)
      rows += this.#erase.run(lo, hi, hi).changes
    }
    return { rows }
  }
}
