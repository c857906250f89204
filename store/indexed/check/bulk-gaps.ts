/** The bytes of a Bulk that revisions point to and that cannot be read. Memory is bounded: gaps are kept in a scratch database. */
import type Database from 'better-sqlite3'
import type { StorageDamage } from '../../capabilities.ts'
import type { PagedBitmap } from '../../paged-bitmap.ts'
import { openScratch } from '../../scratch.ts'
import type { BulkGap, BulkScan } from '../bulk.ts'
import { GROUP_BYTES, UNIT_BYTES } from '../frame.ts'

/** Beyond every position that a row may name. */
export const POSITIONS_MAX = 2 ** 52

/** Groups between two reports of progress. */
const PROGRESS_GROUPS = 512

export class BulkGaps {
  readonly #db = openScratch(
    'CREATE TABLE gap (lo INTEGER PRIMARY KEY, hi INTEGER NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID',
  )
  readonly #add: Database.Statement<[number, number, string]>
  readonly #within: Database.Statement<[number, number, number], BulkGap>
  /** The gap being extended; adjacent gaps with the same reason are merged. */
  #last: BulkGap | undefined

  constructor() {
    this.#add = this.#db.prepare('INSERT OR REPLACE INTO gap (lo, hi, reason) VALUES (?, ?, ?)')
    this.#within = this.#db.prepare(
      `SELECT lo, hi, reason FROM gap
       WHERE lo >= coalesce((SELECT max(lo) FROM gap WHERE lo <= ?), 0) AND lo < ? AND hi > ?`,
    )
  }

  close(): void {
    this.#db.close()
  }

  /** Verifies units, group by group. @param used the units to which revisions point. */
  async find(
    bulk: BulkScan,
    used: PagedBitmap,
    everyByte: boolean,
    onProgress: (pos: number) => void,
  ): Promise<void> {
    const end = POSITIONS_MAX / UNIT_BYTES
    for (let lo = used.find(true, 0, end), count = 0; lo < end; count++) {
      const pos = lo * UNIT_BYTES
      const groupEnd = (pos - (pos % GROUP_BYTES) + GROUP_BYTES) / UNIT_BYTES
      const hi = used.find(false, lo, groupEnd)
      for (const gap of await bulk.verify([pos, hi * UNIT_BYTES], everyByte)) this.#extend(gap)
      if (count % PROGRESS_GROUPS === 0) onProgress(pos)
      lo = used.find(true, hi, end)
    }
    this.#store()
  }

  /** The gaps within a place. */
  within(pos: number, len: number): readonly BulkGap[] {
    return this.#within.all(pos, pos + len, pos)
  }

  #extend(gap: BulkGap): void {
    if (this.#last?.hi === gap.lo && this.#last.reason === gap.reason) {
      this.#last = { ...this.#last, hi: gap.hi }
      return
    }
    this.#store()
    this.#last = gap
  }

  #store(): void {
    if (this.#last !== undefined) this.#add.run(this.#last.lo, this.#last.hi, this.#last.reason)
    this.#last = undefined
  }
}

/** Which bytes of a record a gap of the Bulk takes away. */
export const lostBytes = (
  { lo, hi, reason }: BulkGap,
  headBytes: number,
  pos: number,
  len: number,
): Pick<StorageDamage, 'lo' | 'hi' | 'reason'> => ({
  lo: headBytes + Math.max(lo, pos) - pos,
  hi: headBytes + Math.min(hi, pos + len) - pos,
  reason,
})
