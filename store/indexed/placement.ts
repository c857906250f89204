/**
 * Decides where the parts of a record go: into its row, or, as whole units, into the bulk.
 *
 * | the rest of a body after its whole units   | goes                                                      |
 * |--------------------------------------------|-----------------------------------------------------------|
 * | shorter than {@link SHARED_BYTES_MIN}       | into the row                                              |
 * | longer, after whole units                  | into the next unit, which is padded with zeros            |
 * | longer, and it is the whole body           | into a unit that short bodies of one transaction share    |
 *
 * So a unit belongs to one transaction, and a body that is shorter than a unit lies in one.
 */
import { SHARED_BYTES_MIN } from '../changes.ts'
import { NO_BYTES } from '../bytes.ts'
import { UNIT_BYTES } from './frame.ts'

/**
 * A transaction with fewer bulk bytes than this keeps them in its rows: one sync instead of two, at the
 * price of writing these bytes twice.
 */
export const INLINE_TRANSACTION_BYTES = 16_384

/** Maximum bytes in a row: those of a small transaction, and the rests of a record on both sides of its units. */
export const ROW_BYTES_MAX = 65_536 + 6 * UNIT_BYTES

/** A record to be stored: `head`, then what goes into the bulk, then `tail`. */
export interface Draft {
  readonly head: Uint8Array
  readonly tail: Uint8Array
  /** What goes into the bulk: whole units, then at least {@link SHARED_BYTES_MIN} bytes of the next one, or either. */
  readonly units: readonly Uint8Array[]
  /** Bulk bytes that are stored already. */
  readonly shared?: { readonly pos: number; readonly len: number }
}

export const totalLength = (parts: readonly Uint8Array[]): number =>
  parts.reduce((sum, part) => sum + part.length, 0)

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const filled = parts.filter(({ length }) => length > 0)
  return filled.length === 1 ? (filled[0] ?? NO_BYTES) : Buffer.concat(filled)
}

/** Puts as much as possible into the bulk; rests on either side that are too short for it stay in the row. */
export function draftOf(head: Uint8Array, body: readonly Uint8Array[], tail: Uint8Array): Draft {
  const parts = [...body]
  const rowHead = head.length < UNIT_BYTES
  if (!rowHead) parts.unshift(head)
  const rowTail = tail.length < UNIT_BYTES
  if (!rowTail) parts.push(tail)
  const length = totalLength(parts)
  const rest = length % UNIT_BYTES
  const [units, after] = split(parts, rest < SHARED_BYTES_MIN ? length - rest : length)
  const [left, right] = [rowHead ? head : NO_BYTES, rowTail ? tail : NO_BYTES]
  if (units.length === 0) return { head: concat(left, ...after, right), tail: NO_BYTES, units }
  return { head: left, tail: concat(...after, right), units }
}

/** The parts before and from the byte `at`. */
function split(
  parts: readonly Uint8Array[],
  at: number,
): readonly [before: readonly Uint8Array[], after: readonly Uint8Array[]] {
  const before: Uint8Array[] = []
  const after: Uint8Array[] = []
  let left = at
  for (const part of parts) {
    if (left > 0) before.push(part.length <= left ? part : part.subarray(0, left))
    if (part.length > left) after.push(left > 0 ? part.subarray(left) : part)
    left = Math.max(0, left - part.length)
  }
  return [before, after]
}
