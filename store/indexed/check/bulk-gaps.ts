/** The bytes of a Bulk that revisions point to and that cannot be read. Memory is bounded: gaps are kept in a scratch database. */
import type { VerifiedBytes } from '../../check-memory.ts'
import type Database from 'better-sqlite3'
import type { StorageDamage } from '../../capabilities.ts'
import type { PagedBitmap } from '../../paged-bitmap.ts'
import { openScratch } from '../../scratch.ts'
import type { BulkGap, BulkScan } from '../bulk.ts'
import { GROUP_BYTES, UNIT_BYTES } from '../frame.ts'

/** Beyond every position that a row may name. */
export const POSITIONS_MAX = 2 ** 52

/** Groups that are verified at the same time. */
const GROUPS_AT_ONCE = 4

/** Between two notes of how far the check has got. */
const NOTE_MS = 5000

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

  /**
   * Verifies units, group by group, some of them at the same time.
   * @param used the units to which revisions point.
   * @param verified if every byte is read: how far an interrupted check had got.
   */
  async find(
    bulk: BulkScan,
    used: PagedBitmap,
    everyByte: boolean,
    onProgress: (pos: number) => void,
    verified: VerifiedBytes | undefined,
  ): Promise<void> {
    const from = (everyByte && verified?.from) || 0
    const running: { readonly pos: number; readonly gaps: Promise<readonly BulkGap[]> }[] = []
    let isIntact = true
    let end = 0
    let notedAt = performance.now()
    const settle = async (): Promise<void> => {
      const first = running.shift()
      if (first === undefined) return
      for (const gap of await first.gaps) {
        this.#extend(gap)
        isIntact = false
      }
      onProgress(first.pos)
      // Findings are not kept: the next check reads from the first one on.
      if (!isIntact || first.pos < from || performance.now() - notedAt < NOTE_MS) return
      verified?.note(first.pos)
      notedAt = performance.now()
    }
    try {
      for (const [lo, hi] of groupsOf(used)) {
        end = hi
        const gaps = Promise.resolve(bulk.verify([lo, hi], everyByte && lo >= from))
        // Awaited below, unless an earlier one fails.
        gaps.catch(() => undefined)
        running.push({ pos: lo, gaps })
        if (running.length >= GROUPS_AT_ONCE) await settle()
      }
      while (running.length > 0) await settle()
    } finally {
      await Promise.allSettled(running.map(({ gaps }) => gaps))
    }
    this.#store()
    if (everyByte && isIntact && end > from) verified?.note(end)
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

/** The used units, as ranges of positions, each within one group. */
function* groupsOf(used: PagedBitmap): Generator<readonly [number, number]> {
  const end = POSITIONS_MAX / UNIT_BYTES
  for (let lo = used.find(true, 0, end); lo < end;) {
    const pos = lo * UNIT_BYTES
    const groupEnd = (pos - (pos % GROUP_BYTES) + GROUP_BYTES) / UNIT_BYTES
    const hi = used.find(false, lo, groupEnd)
    yield [pos, hi * UNIT_BYTES]
    lo = used.find(true, hi, end)
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
