/** The epochs of an encrypted database (store/encryption/epochs.ts) in rows of `meta`: `epoch POSITION`, as 16 hex digits, to the salt in hex. */
import type { Database } from 'better-sqlite3'
import { type Epoch, EPOCH_BYTES, Epochs } from '../encryption/epochs.ts'

const PREFIX = 'epoch '
/** Greater than every name with {@link PREFIX}, and less than any other greater one. */
const END = 'epoch!'
const DIGITS = 16

const nameOf = (start: number): string => PREFIX + start.toString(16).padStart(DIGITS, '0')

/** The epochs that a connection sees. */
export function epochsOf(db: Database): Epochs {
  const rows = db
    .prepare<[string, string], [name: string, salt: unknown]>(
      'SELECT name, value FROM meta WHERE name >= ? AND name < ? ORDER BY name',
    )
    .raw()
  return new Epochs(() => {
    const found: Epoch[] = []
    for (const [name, value] of rows.all(PREFIX, END)) {
      const start = Number.parseInt(name.slice(PREFIX.length), 16)
      const salt = Buffer.from(typeof value === 'string' ? value : '', 'hex')
      // A damaged row is left out: what it should open is damaged then.
      if (Number.isSafeInteger(start) && salt.length === EPOCH_BYTES) found.push({ start, salt })
    }
    return found
  })
}

/** Stores new epochs, in the SQLite transaction whose rows point to them. */
export function storeEpochs(db: Database, epochs: Epochs): void {
  const [first, ...others] = epochs.unstored
  if (first === undefined) return
  db.prepare('DELETE FROM meta WHERE name >= ? AND name < ?').run(nameOf(first.start), END)
  const insert = db.prepare('INSERT INTO meta (name, value) VALUES (?, ?)')
  for (const { start, salt } of [first, ...others]) insert.run(nameOf(start), salt.toString('hex'))
}
