/**
 * A database's id, which its log files carry too: 24 random hex digits followed by their CRC-32 as 8 digits, so that a
 * damaged id is not mistaken for another database's.
 */
import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

const RANDOM_BYTES = 12
const SUM_DIGITS = 8

const sumOf = (digits: string): string => crc32(digits).toString(16).padStart(SUM_DIGITS, '0')

export function newDatabaseId(): string {
  const digits = randomBytes(RANDOM_BYTES).toString('hex')
  return digits + sumOf(digits)
}

/** Whether a value is an undamaged id. */
export const isDatabaseId = (value: unknown): value is string =>
  typeof value === 'string' &&
  /^[0-9a-f]{32}$/.test(value) &&
  sumOf(value.slice(0, -SUM_DIGITS)) === value.slice(-SUM_DIGITS)
