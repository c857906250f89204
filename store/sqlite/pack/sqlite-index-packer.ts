/** The changes of a pack (index-scan.ts) in the tables of a SQLite database, on the connection of the writer's thread. */
import { randomUUID } from 'node:crypto'
import type { Database, Statement } from 'better-sqlite3'
import type { BulkRange } from '../../indexed/bulk.ts'
import type { IndexPacker } from '../../indexed/index-scan.ts'
import { lastLogEnd } from '../log.ts'
import { selectUsedSince } from '../sqlite-index-scan.ts'
import { DropSums } from '../totals.ts'
import { FINISHED } from '../parts.ts'
import { deleteRevision, droppedCells, selectNewestSize, type SizeCells } from '../rows.ts'
import type { RevisionSums } from '../../capabilities.ts'
import type { Checkpoints } from '../writer/checkpoints.ts'

/** A row of `meta` that is written to sync everything before it. Its value changes each time, else SQLite would skip the write. */
export const SYNCED = 'pack synced'

export class SqliteIndexPacker implements IndexPacker {
  readonly #db: Database
  readonly #checkpoints: Checkpoints
  readonly #note: Statement<[string, string]>
  readonly #drop: Statement<[number, bigint], [rowBytes: number, bulkBytes: number]>
  readonly #newest: Statement<[number], SizeCells>
  readonly #addDropped: Statement<[number, number, number, number, number, number, number]>
  readonly #discount: Statement<[number, number, bigint]>
  readonly #forget: Statement<[bigint]>
  readonly #used: Statement<[bigint], BulkRange>

  constructor(db: Database, checkpoints: Checkpoints) {
    this.#db = db
    this.#checkpoints = checkpoints
    this.#note = db.prepare('INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)')
    this.#drop = deleteRevision(db)
    this.#newest = selectNewestSize(db, FINISHED)
    this.#addDropped = db.prepare(
      `UPDATE dropped SET objects = objects + ?, revisions = revisions + ?, row_bytes = row_bytes + ?,
         bulk_bytes = bulk_bytes + ?, past_revisions = past_revisions + ?, past_row_bytes = past_row_bytes + ?,
         past_bulk_bytes = past_bulk_bytes + ?`,
    )
    this.#discount = db.prepare('UPDATE txn SET objects = objects - ?, bytes = bytes - ? WHERE tid = ?')
    this.#forget = db.prepare('DELETE FROM txn WHERE tid = ?')
    this.#used = selectUsedSince(db)
  }

  drop(oids: Float64Array, tids: BigInt64Array): number {
    return this.#unsynced(() => {
      const dropped = new Map<bigint, { objects: number; bytes: number }>()
      const sums = new DropSums()
      for (let index = 0; index < oids.length; index++) {
        const tid = tids[index] ?? 0n
        const oid = oids[index] ?? 0
        const cells = this.#drop.get(oid, tid)
        if (cells === undefined) continue
        const [rowBytes, bulkBytes] = cells
        const sum = dropped.get(tid) ?? { objects: 0, bytes: 0 }
        dropped.set(tid, { objects: sum.objects + 1, bytes: sum.bytes + rowBytes + bulkBytes })
        this.#count(sums, oid, tid, { revisions: 1, rowBytes, bulkBytes })
      }
      // The sums of a transaction are those of its kept revisions.
      for (const [tid, { objects, bytes }] of dropped) this.#discount.run(objects, bytes, tid)
      const { objects, all, past } = sums.sums
      this.#addDropped.run(...droppedCells({ objects, all, past }))
      return all.revisions
    })
  }

  #count(sums: DropSums, oid: number, tid: bigint, dropped: RevisionSums): void {
    const left = this.#newest.get(oid)
    const isPast = left !== undefined && left[0] > tid
    const promoted =
      left === undefined || isPast ? undefined : { revisions: 1, rowBytes: left[1], bulkBytes: left[2] }
    sums.add(dropped, isPast, promoted)
  }

  forget(tids: BigInt64Array): void {
    this.#unsynced(() => {
      for (const tid of tids) this.#forget.run(tid)
    })
  }

  makeDurable(): void {
    this.#note.run(SYNCED, randomUUID())
  }

  usedSince(tid: bigint): readonly BulkRange[] {
    return this.#used.all(tid)
  }

  bulkEnd(): number {
    return lastLogEnd(this.#db)
  }

  releasePages(pages: number): void {
    this.#unsynced(() => void this.#db.pragma(`incremental_vacuum(${pages})`))
  }

  finish(): void {
    this.#checkpoints.flush()
  }

  /** The caller relies on it at once: it survives a crash. */
  setNote(name: string, value: string): void {
    this.#note.run(name, value)
  }

  #unsynced<T>(work: () => T): T {
    this.#db.pragma('synchronous = NORMAL')
    try {
      return this.#db.transaction(work).immediate()
    } finally {
      this.#db.pragma('synchronous = FULL')
    }
  }
}
