/** The changes of a pack (index-scan.ts) in the tables of a SQLite database, on the connection of the writer's thread. */
import { randomUUID } from 'node:crypto'
import type { Database, Statement } from 'better-sqlite3'
import type { BulkRange } from '../../indexed/bulk.ts'
import type { IndexPacker } from '../../indexed/index-scan.ts'
import { lastLogEnd } from '../log.ts'
import { selectUsedSince } from '../sqlite-index-scan.ts'
import type { Checkpoints } from '../writer/checkpoints.ts'

/** A row of `meta` that is written to sync everything before it. Its value changes each time, else SQLite would skip the write. */
const SYNCED = 'pack synced'

export class SqliteIndexPacker implements IndexPacker {
  readonly #db: Database
  readonly #checkpoints: Checkpoints
  readonly #note: Statement<[string, string]>
  readonly #drop: Statement<[number, bigint], number>
  readonly #discount: Statement<[number, number, bigint]>
  readonly #forget: Statement<[bigint]>
  readonly #used: Statement<[bigint], BulkRange>

  constructor(db: Database, checkpoints: Checkpoints) {
    this.#db = db
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
    this.#used = selectUsedSince(db)
  }

  drop(oids: Float64Array, tids: BigInt64Array): number {
    return this.#unsynced(() => {
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
      return rows
    })
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

  giveBack(pages: number): void {
    this.#unsynced(() => void this.#db.pragma(`incremental_vacuum(${pages})`))
  }

  settle(): void {
    this.#checkpoints.settle()
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
