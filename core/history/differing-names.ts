/**
 * Names of inodes that only one of two moments has, by inode: in memory, and on disk as soon as there are many. In memory they are in the
 * order in which they were added, on disk in that of the inodes' numbers.
 */
import { knownOid, type Oid } from '../../store/ids.ts'
import { openScratch, ScratchNames } from '../../store/scratch.ts'
import type { Place } from '../tree/shown-path.ts'

/** Names in memory. */
const MEMORY_MAX = 16_384
/** Inodes read together. */
const BATCH = 256

/** The names of an inode: those that only the earlier moment has, and those that only the later one has. */
export interface NamesOf {
  readonly oid: Oid
  readonly removed: Place[]
  readonly added: Place[]
}

interface Spilled {
  readonly db: ReturnType<typeof openScratch>
  readonly names: ScratchNames
  readonly add: (side: Side, oid: Oid, place: Place) => void
  readonly rowsOf: (oid: Oid) => readonly Row[]
}

type Side = 'removed' | 'added'

interface Row {
  readonly side: Side
  readonly parent: number
  readonly name: Buffer
}

export class DifferingNames {
  readonly #memory = new Map<Oid, NamesOf>()
  readonly #memoryMax: number
  #length = 0
  #spilled: Spilled | undefined

  constructor(memoryMax = MEMORY_MAX) {
    this.#memoryMax = memoryMax
  }

  add(side: Side, oid: Oid, place: Place): void {
    if (this.#spilled !== undefined) return this.#spilled.add(side, oid, place)
    const names = this.#memory.get(oid) ?? { oid, removed: [], added: [] }
    this.#memory.set(oid, names)
    names[side].push(place)
    if (++this.#length > this.#memoryMax) this.#spill()
  }

  /** Whether an inode has names of both kinds: it was renamed. */
  isRenamed(oid: Oid): boolean {
    const { removed, added } = this.#of(oid)
    return removed.length > 0 && added.length > 0
  }

  /** The inodes that have such names. None may be added meanwhile. */
  *[Symbol.iterator](): Generator<NamesOf> {
    yield* this.#memory.values()
    if (this.#spilled === undefined) return
    const next = this.#spilled.db.prepare<[number], { readonly oid: number }>(
      `SELECT DISTINCT oid FROM item WHERE oid > ? ORDER BY oid LIMIT ${BATCH}`,
    )
    for (let oids = next.all(-1); oids.length > 0; oids = next.all(oids.at(-1)?.oid ?? 0))
      for (const { oid } of oids) yield this.#of(knownOid(oid))
  }

  close(): void {
    this.#spilled?.db.close()
    this.#spilled?.names.close()
  }

  #of(oid: Oid): NamesOf {
    const found = this.#memory.get(oid) ?? { oid, removed: [], added: [] }
    if (this.#spilled === undefined) return found
    const { rowsOf, names } = this.#spilled
    for (const { side, parent, name } of rowsOf(oid))
      found[side].push({ parent: knownOid(parent), name: names.open(name) })
    return found
  }

  #spill(): void {
    const names = new ScratchNames()
    const db = openScratch(
      'CREATE TABLE item (seq INTEGER PRIMARY KEY, oid INTEGER NOT NULL, side TEXT NOT NULL, parent INTEGER NOT NULL,' +
        ' name BLOB NOT NULL); CREATE INDEX by_oid ON item (oid, seq)',
    )
    const insert = db.prepare<[number, Side, number, Buffer]>(
      'INSERT INTO item (oid, side, parent, name) VALUES (?, ?, ?, ?)',
    )
    const add = (side: Side, oid: Oid, { parent, name }: Place): void =>
      void insert.run(oid, side, parent, names.seal(name))
    const select = db.prepare<[number], Row>('SELECT side, parent, name FROM item WHERE oid = ? ORDER BY seq')
    this.#spilled = { db, names, add, rowsOf: oid => select.all(oid) }
    for (const { oid, removed, added } of this.#memory.values()) {
      for (const place of removed) add('removed', oid, place)
      for (const place of added) add('added', oid, place)
    }
    this.#memory.clear()
  }
}
