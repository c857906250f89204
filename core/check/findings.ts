/**
 * Records lost states of objects during a check, and whether they were reported. In a scratch database, so memory is
 * bounded.
 */
import { oid as toOid, tid as toTid, type Oid, type Tid } from '../../store/ids.ts'
import { openScratch } from '../../store/scratch.ts'

/** An unreadable state of an object, or unreadable bytes `[lo, hi)` of its record. */
export interface LostState {
  readonly oid: Oid
  readonly tid: Tid
  readonly reason: string
  readonly lo?: number
  readonly hi?: number
}

/** Lost bytes of a record: all of them if `lo` is undefined. */
export type LostPart = Omit<LostState, 'oid'>

interface LostRow {
  readonly oid: bigint
  readonly tid: bigint
  readonly reason: string
  readonly lo: bigint | null
  readonly hi: bigint | null
}

export class Findings {
  readonly #db = openScratch(`
    CREATE TABLE lost (
      oid INTEGER NOT NULL, tid INTEGER NOT NULL, reason TEXT NOT NULL, lo INTEGER, hi INTEGER,
      current INTEGER NOT NULL, named INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX lost_by_oid ON lost (oid, tid);
  `)
  readonly #add = this.#db.prepare<[number, bigint, string, number | null, number | null, number]>(
    'INSERT INTO lost (oid, tid, reason, lo, hi, current) VALUES (?, ?, ?, ?, ?, ?)',
  )
  readonly #current = this.#db
    .prepare<[number], LostRow>('SELECT * FROM lost WHERE oid = ? AND current = 1 ORDER BY lo')
    .safeIntegers()
  readonly #any = this.#db.prepare<[number, bigint]>('SELECT 1 FROM lost WHERE oid = ? AND tid = ?')
  readonly #name = this.#db.prepare<[number]>('UPDATE lost SET named = 1 WHERE oid = ? AND current = 1')
  #hasCurrent = false

  /** @param isCurrent whether it is the object's present state. */
  addLost({ oid, tid, reason, lo, hi }: LostState, isCurrent: boolean): void {
    this.#hasCurrent ||= isCurrent
    this.#add.run(oid, tid, reason, lo ?? null, hi ?? null, isCurrent ? 1 : 0)
  }

  isKnown(oid: Oid, tid: Tid): boolean {
    return this.#any.get(oid, tid) !== undefined
  }

  /** The lost parts of an object's present state; empty if it is intact. */
  lostOf(oid: Oid): readonly LostPart[] {
    if (!this.#hasCurrent) return []
    return this.#current.all(oid).map(partOf)
  }

  /** Records that the loss of an object's present state was reported with the file or directory it belongs to. */
  named(oid: Oid): void {
    if (this.#hasCurrent) this.#name.run(oid)
  }

  /** The losses that were not {@link named}. */
  *unnamed(): Generator<LostState & { readonly isCurrent: boolean }> {
    const rows = this.#db
      .prepare<[], LostRow & { current: bigint }>('SELECT * FROM lost WHERE named = 0 ORDER BY oid, tid, lo')
      .safeIntegers()
    for (const row of rows.all()) yield { oid: toOid(row.oid), ...partOf(row), isCurrent: row.current === 1n }
  }

  close(): void {
    this.#db.close()
  }
}

const partOf = ({ tid, reason, lo, hi }: LostRow): LostPart => ({
  tid: toTid(tid),
  reason,
  ...(lo !== null && hi !== null && { lo: Number(lo), hi: Number(hi) }),
})
