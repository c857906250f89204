/**
 * Which record of the target has the bytes of a place of the source.
 *
 * Places of records that were copied now are entered one by one. A place that was copied earlier is looked up: bulk bytes are in the
 * order of transactions, so a binary search finds the transaction that wrote it, and the places of that transaction alone are
 * entered. If a pack has dropped the revision that wrote the bytes, all earlier revisions are entered, once. The table is on
 * disk, apart from a bounded part.
 */
import type Database from 'better-sqlite3'
import type { Copying, RevisionPlace, StoredRecord } from '../../store/copying.ts'
import type { RecordSlice } from '../../store/changes.ts'
import { oid as toOid, tid as toTid, TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { openScratch } from '../../store/scratch.ts'

export const LAST_OID: Oid = toOid(Number.MAX_SAFE_INTEGER)
const PAGE_ROWS = 256

/** All revisions of the transactions `(after, upTo]`, in pages. */
export async function* revisionsBetween(
  copying: Copying,
  after: Tid,
  upTo: Tid,
): AsyncGenerator<readonly StoredRecord[]> {
  for (let place: RevisionPlace = { tid: after, oid: LAST_OID }; ;) {
    const page = await copying.revisions(place, upTo, PAGE_ROWS)
    const last = page.at(-1)
    if (last === undefined) return
    yield page
    place = last
  }
}

export class SourcePlaces {
  readonly #copying: Copying
  readonly #base: Tid
  readonly #db = openScratch(
    `CREATE TABLE place (lo INTEGER PRIMARY KEY, hi INTEGER NOT NULL, oid INTEGER NOT NULL, tid INTEGER NOT NULL, off INTEGER NOT NULL);
     CREATE TABLE entered (tid INTEGER PRIMARY KEY)`,
  )
  readonly #enter: Database.Statement<[number, number, number, bigint, number]>
  readonly #find: Database.Statement<[number, number], [bigint, bigint, bigint, bigint]>
  readonly #enterTransaction: Database.Statement<[bigint]>
  #baseEnd: number | undefined
  #areAllEntered = false

  /** @param base the last transaction that the target has. */
  constructor(copying: Copying, base: Tid) {
    this.#copying = copying
    this.#base = base
    this.#enter = this.#db.prepare(
      'INSERT OR IGNORE INTO place (lo, hi, oid, tid, off) VALUES (?, ?, ?, ?, ?)',
    )
    this.#find = this.#db
      .prepare<[number, number], [bigint, bigint, bigint, bigint]>(
        `SELECT oid, tid, off, lo FROM (SELECT * FROM place WHERE lo <= ? ORDER BY lo DESC LIMIT 1) WHERE hi >= ?`,
      )
      .safeIntegers()
      .raw(true)
    this.#enterTransaction = this.#db.prepare('INSERT OR IGNORE INTO entered (tid) VALUES (?)')
  }

  /** The same bytes as a slice of a record that the target has; undefined if it has none. */
  async shared({ pos, len }: StoredRecord): Promise<RecordSlice | undefined> {
    if (pos === null) return undefined
    const found = this.#lookUp(pos, len)
    if (found !== undefined || !(await this.#isEarlier(pos))) return found
    const writer = await this.#writerOf(pos)
    if (this.#enterTransaction.run(writer).changes > 0) await this.#enterAll(toTid(writer - 1n), writer)
    const written = this.#lookUp(pos, len)
    if (written !== undefined || this.#areAllEntered) return written
    this.#areAllEntered = true
    await this.#enterAll(TID_NONE, this.#base)
    return this.#lookUp(pos, len)
  }

  /** Enters the place of a record that the target has now. */
  enter({ oid, tid, head, pos, len }: StoredRecord): void {
    if (pos !== null && head !== null) this.#enter.run(pos, pos + len, oid, tid, head.length)
  }

  close(): void {
    this.#db.close()
  }

  #lookUp(pos: number, len: number): RecordSlice | undefined {
    const found = this.#find.get(pos, pos + len)
    if (found === undefined) return undefined
    const [oid, tid, off, lo] = found
    return { oid: toOid(oid), tid: toTid(tid), off: Number(off) + pos - Number(lo), len }
  }

  async #isEarlier(pos: number): Promise<boolean> {
    this.#baseEnd ??= this.#base === TID_NONE ? 0 : await this.#copying.placesEnd(this.#base)
    return pos < this.#baseEnd
  }

  /** The first transaction whose places end behind `pos`. */
  async #writerOf(pos: number): Promise<Tid> {
    let [before, after] = [0n, this.#base as bigint]
    while (after - before > 1n) {
      const middle = (before + after) / 2n
      if ((await this.#copying.placesEnd(toTid(middle))) > pos) after = middle
      else before = middle
    }
    return toTid(after)
  }

  async #enterAll(after: Tid, upTo: Tid): Promise<void> {
    for await (const page of revisionsBetween(this.#copying, after, upTo))
      for (const row of page) if (this.#lookUpRow(row) === undefined) this.enter(row)
  }

  #lookUpRow({ pos, len }: StoredRecord): RecordSlice | undefined {
    return pos === null ? undefined : this.#lookUp(pos, len)
  }
}
