/**
 * Lists and tables of values that may not fit into memory, in scratch databases (scratch.ts). These are in the directory for temporary
 * files, and the values may come from an encrypted database. So values are encrypted, and keys of tables that are texts are hashed, with
 * keys that only this process has.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { deserialize, serialize } from 'node:v8'
import { openScratch, ScratchSeal } from './scratch.ts'

/** Values read together: one may take megabytes. */
const BATCH = 32
const HASH_KEY_BYTES = 32

interface Row {
  readonly seq: number
  readonly depth: number
  readonly value: Buffer
}

/** Values in the order in which they were added, and those of a group by their depth. */
export class ScratchList<T> {
  readonly #seal = new ScratchSeal()
  readonly #db = openScratch(
    'CREATE TABLE item (seq INTEGER PRIMARY KEY, of TEXT NOT NULL, depth INTEGER NOT NULL, value BLOB NOT NULL);' +
      'CREATE INDEX sorted ON item (of, depth, seq)',
  )
  readonly #add = this.#db.prepare<[string, number, Buffer]>(
    'INSERT INTO item (of, depth, value) VALUES (?, ?, ?)',
  )
  #length = 0

  get length(): number {
    return this.#length
  }

  add(value: T, group = '', depth = 0): void {
    this.#add.run(group, depth, this.#seal.seal(serialize(value)))
    this.#length++
  }

  clear(): void {
    this.#db.exec('DELETE FROM item')
    this.#length = 0
  }

  /** All values, in the order in which they were added. */
  *[Symbol.iterator](): Generator<T> {
    const next = this.#db.prepare<[number], Row>(
      `SELECT seq, depth, value FROM item WHERE seq > ? ORDER BY seq LIMIT ${BATCH}`,
    )
    yield* this.#batches(({ seq }) => next.all(seq))
  }

  /** The values of a group by ascending depth. Values may be added meanwhile. */
  *ascending(group: string): Generator<T> {
    const next = this.#db.prepare<[string, number, number], Row>(
      `SELECT seq, depth, value FROM item WHERE of = ? AND (depth, seq) > (?, ?) ORDER BY depth, seq LIMIT ${BATCH}`,
    )
    yield* this.#batches(({ depth, seq }) => next.all(group, depth, seq))
  }

  /** The values of a group by descending depth. */
  *descending(group: string): Generator<T> {
    const next = this.#db.prepare<[string, number, number], Row>(
      `SELECT seq, depth, value FROM item WHERE of = ? AND (depth, seq) < (?, ?) ORDER BY depth DESC, seq DESC LIMIT ${BATCH}`,
    )
    const beyond = Number.MAX_SAFE_INTEGER
    yield* this.#batches(({ depth, seq }) => next.all(group, depth, seq), { depth: beyond, seq: beyond })
  }

  close(): void {
    this.#db.close()
    this.#seal.close()
  }

  *#batches(
    next: (after: Pick<Row, 'depth' | 'seq'>) => readonly Row[],
    from: Pick<Row, 'depth' | 'seq'> = { depth: -1, seq: 0 },
  ): Generator<T> {
    for (let rows = next(from); ;) {
      for (const { value } of rows) yield deserialize(this.#seal.open(value)) as T
      const last = rows.at(-1)
      if (last === undefined || rows.length < BATCH) return
      rows = next(last)
    }
  }
}

/** A table of values by number or text. */
export class ScratchMap<K extends number | string, V> {
  readonly #seal = new ScratchSeal()
  readonly #hashKey = randomBytes(HASH_KEY_BYTES)
  readonly #db = openScratch('CREATE TABLE item (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID')
  readonly #get = this.#db.prepare<[number | Buffer], { readonly value: Buffer }>(
    'SELECT value FROM item WHERE key = ?',
  )
  readonly #set = this.#db.prepare<[number | Buffer, Buffer]>('INSERT OR REPLACE INTO item VALUES (?, ?)')
  readonly #delete = this.#db.prepare<[number | Buffer]>('DELETE FROM item WHERE key = ?')

  get(key: K): V | undefined {
    const row = this.#get.get(this.#stored(key))
    return row && (deserialize(this.#seal.open(row.value)) as V)
  }

  has(key: K): boolean {
    return this.#get.get(this.#stored(key)) !== undefined
  }

  set(key: K, value: V): void {
    this.#set.run(this.#stored(key), this.#seal.seal(serialize(value)))
  }

  delete(key: K): void {
    this.#delete.run(this.#stored(key))
  }

  clear(): void {
    this.#db.exec('DELETE FROM item')
  }

  close(): void {
    this.#db.close()
    this.#seal.close()
  }

  #stored(key: K): number | Buffer {
    return typeof key === 'number' ? key : createHmac('sha256', this.#hashKey).update(key).digest()
  }
}

/** A set of texts. */
export class ScratchSet {
  readonly #hashKey = randomBytes(HASH_KEY_BYTES)
  readonly #db = openScratch('CREATE TABLE item (key BLOB PRIMARY KEY) WITHOUT ROWID')
  readonly #add = this.#db.prepare<[Buffer]>('INSERT OR IGNORE INTO item VALUES (?)')

  /** Returns whether the text was not in it. */
  add(text: string): boolean {
    return this.#add.run(createHmac('sha256', this.#hashKey).update(text).digest()).changes > 0
  }

  close(): void {
    this.#db.close()
  }
}
