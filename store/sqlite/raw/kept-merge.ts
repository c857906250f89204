/** Drops from a copy what packs of the source have dropped: all revisions that the entries of `kept` parts (rows.ts) do not have. */
import type { Database, Statement } from 'better-sqlite3'
import { StoreError } from '../../errors.ts'
import { TID_NONE } from '../../ids.ts'
import type { KeptTransaction } from './rows.ts'

const BATCH_ROWS = 1000

/** Both sides are in the order of tids and oids, so that they are merged in bounded memory. */
export class KeptMerge {
  readonly #oids: Statement<[bigint, number, number], number>
  readonly #drop: Statement<[bigint, number]>
  readonly #dropBetween: Statement<[bigint, bigint]>
  readonly #forgetBetween: Statement<[bigint, bigint]>
  readonly #count: Statement<[number, number, bigint]>
  /** The transaction of the last entry. */
  #tid: bigint = TID_NONE
  /** Its revisions here that were not compared yet. */
  #rest: Iterator<number> = [].values()
  #next: number | undefined

  constructor(db: Database) {
    this.#oids = db
      .prepare<[bigint, number, number], number>(
        'SELECT CAST(oid AS REAL) FROM revision INDEXED BY revision_by_tid WHERE tid = ? AND oid > ? ORDER BY oid LIMIT ?',
      )
      .pluck()
    this.#drop = db.prepare('DELETE FROM revision WHERE tid = ? AND oid = ?')
    this.#dropBetween = db.prepare('DELETE FROM revision WHERE tid > ? AND tid < ?')
    this.#forgetBetween = db.prepare('DELETE FROM txn WHERE tid > ? AND tid < ?')
    this.#count = db.prepare('UPDATE txn SET objects = ?, bytes = ? WHERE tid = ?')
  }

  /** @throws StoreError `bad-stream` if the copy lacks what the source has kept. */
  add({ tid, objects, bytes, runs }: KeptTransaction): void {
    if (tid !== this.#tid) {
      if (tid < this.#tid) throw lacking()
      this.#dropRest()
      this.#forget(tid)
      if (this.#count.run(objects, bytes, tid).changes === 0) throw lacking()
      this.#tid = tid
      this.#rest = this.#oidsOf(tid)
      this.#advance()
    }
    for (const { start, length } of runs) {
      this.#dropBefore(start)
      for (let oid = start; oid < start + length; oid++) {
        if (this.#next !== oid) throw lacking()
        this.#advance()
      }
    }
  }

  /** Call after the last entry. @param upTo the last transaction of the copy. */
  end(upTo: bigint): void {
    this.#dropRest()
    this.#forget(upTo + 1n)
  }

  #dropRest(): void {
    this.#dropBefore(Number.POSITIVE_INFINITY)
  }

  /** Drops the transactions after the last entry's and before `tid`. */
  #forget(tid: bigint): void {
    this.#dropBetween.run(this.#tid, tid)
    this.#forgetBetween.run(this.#tid, tid)
  }

  #dropBefore(oid: number): void {
    while (this.#next !== undefined && this.#next < oid) {
      this.#drop.run(this.#tid, this.#next)
      this.#advance()
    }
  }

  #advance(): void {
    const { done, value } = this.#rest.next()
    this.#next = done === true ? undefined : value
  }

  *#oidsOf(tid: bigint): Generator<number> {
    for (let after = -1; ;) {
      const batch = this.#oids.all(tid, after, BATCH_ROWS)
      yield* batch
      after = batch.at(-1) ?? after
      if (batch.length < BATCH_ROWS) return
    }
  }
}

const lacking = (): StoreError =>
  new StoreError('this is not a sound stream: the copy lacks what its source has kept', {
    code: 'bad-stream',
  })
