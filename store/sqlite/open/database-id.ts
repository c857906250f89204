/**
 * A database's id, which its log files carry too: 24 random hex digits followed by their CRC-32 as 8 digits, so that a
 * damaged id is not mistaken for another database's.
 */
import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Database } from 'better-sqlite3'

/** The row of `meta`. */
export const DATABASE_ID = 'database id'

const RANDOM_BYTES = 12
const SUM_DIGITS = 8

const sumOf = (digits: string): string => crc32(digits).toString(16).padStart(SUM_DIGITS, '0')

export function newDatabaseId(): string {
  const digits = randomBytes(RANDOM_BYTES).toString('hex')
  return digits + sumOf(digits)
}

/** Undefined if it is missing or damaged. */
export function readDatabaseId(db: Database): string | undefined {
  const id = db.prepare<[string]>('SELECT value FROM meta WHERE name = ?').pluck().get(DATABASE_ID)
  if (typeof id !== 'string' || !/^[0-9a-f]{32}$/.test(id)) return undefined
  return sumOf(id.slice(0, -SUM_DIGITS)) === id.slice(-SUM_DIGITS) ? id : undefined
}
