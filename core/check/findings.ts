/**
 * What is remembered while a database is checked: which states are damaged, who they belong to, and which objects
 * and inodes were met. It is a temporary database, because a database may have any number of objects.
 */
import Database from 'better-sqlite3'
import type { Oid, Tid } from '../../store/ids.ts'

/** A state of an object that cannot be read, or bytes `[lo, hi)` of its record that cannot. */
export interface LostState {
  readonly oid: Oid
  readonly tid: Tid
  readonly reason: string
  readonly lo?: number
  readonly hi?: number
}

/** Some bytes of a record: all of it where `lo` is undefined. */
export type LostPart = Omit<LostState, 'oid'>

interface LostRow {
  readonly oid: bigint
  readonly tid: bigint
  readonly reason: string
  readonly lo: bigint | null
  readonly hi: bigint | null
}

export class Findings {
  /** For tables of those who check. */
  readonly db = new Database('')
  readonly #add
  readonly #current
  readonly #any
  #hasCurrent = false

  constructor() {
    this.db.pragma('journal_mode = OFF')
    // One transaction to the end: else every row would be one of its own, at ten times the cost.
    this.db.exec(`
      BEGIN;
      CREATE TABLE lost (
        oid INTEGER NOT NULL, tid INTEGER NOT NULL, reason TEXT NOT NULL, lo INTEGER, hi INTEGER,
        current INTEGER NOT NULL, named INTEGER NOT NULL DEFAULT 0
      );
      CREATE INDEX lost_by_oid ON lost (oid, tid);
    `)
    this.#add = this.db.prepare<[number, bigint, string, number | null, number | null, number]>(
      'INSERT INTO lost (oid, tid, reason, lo, hi, current) VALUES (?, ?, ?, ?, ?, ?)',
    )
    this.#current = this.db
      .prepare<[number], LostRow>('SELECT * FROM lost WHERE oid = ? AND current = 1 ORDER BY lo')
      .safeIntegers()
    this.#any = this.db.prepare<[number, bigint]>('SELECT 1 FROM lost WHERE oid = ? AND tid = ?')
  }

  /** @param isCurrent it is what the object is now. */
  addLost({ oid, tid, reason, lo, hi }: LostState, isCurrent: boolean): void {
    this.#hasCurrent ||= isCurrent
    this.#add.run(oid, tid, reason, lo ?? null, hi ?? null, isCurrent ? 1 : 0)
  }

  isKnown(oid: Oid, tid: Tid): boolean {
    return this.#any.get(oid, tid) !== undefined
  }

  /** What of an object's present state is lost: none where it is whole. */
  lostOf(oid: Oid): readonly LostPart[] {
    if (!this.#hasCurrent) return []
    return this.#current.all(oid).map(partOf)
  }

  /** Somebody has named the present state of an object as damaged, by what it belongs to. */
  named(oid: Oid): void {
    if (this.#hasCurrent) this.db.prepare('UPDATE lost SET named = 1 WHERE oid = ? AND current = 1').run(oid)
  }

  /** What nobody has named. */
  *unnamed(): Generator<LostState & { readonly isCurrent: boolean }> {
    const rows = this.db
      .prepare<[], LostRow & { current: bigint }>('SELECT * FROM lost WHERE named = 0 ORDER BY oid, tid, lo')
      .safeIntegers()
    for (const row of rows.all())
      yield { oid: Number(row.oid) as Oid, ...partOf(row), isCurrent: row.current === 1n }
  }

  close(): void {
    this.db.close()
  }
}

const partOf = ({ tid, reason, lo, hi }: LostRow): LostPart => ({
  tid: tid as Tid,
  reason,
  ...(lo !== null && hi !== null && { lo: Number(lo), hi: Number(hi) }),
})
