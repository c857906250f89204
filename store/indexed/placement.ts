/** Decides where the parts of a record go: into its row, or, as whole units, into the bulk. */
import { NO_BYTES } from '../bytes.ts'
import { UNIT_BYTES } from './frame.ts'

/**
 * A transaction with fewer bulk bytes than this keeps them in its rows: one sync instead of two, at the
 * price of writing these bytes twice.
 */
export const INLINE_TRANSACTION_BYTES = 65_536

/** Maximum bytes in a row: those of a small transaction, and the rests of a record on both sides of its units. */
export const ROW_BYTES_MAX = INLINE_TRANSACTION_BYTES + 6 * UNIT_BYTES

/** A record to be stored: `head`, then what goes into the bulk, then `tail`. */
export interface Draft {
  readonly head: Uint8Array
  readonly tail: Uint8Array
  /** Whole units in total; none if the record is entirely in its row, or shares its bulk bytes. */
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

/** Puts as many whole units as possible into the bulk; the shorter rests on either side stay in the row. */
export function draftOf(head: Uint8Array, body: readonly Uint8Array[], tail: Uint8Array): Draft {
  const parts = [...body]
  const rowHead = head.length < UNIT_BYTES
  if (!rowHead) parts.unshift(head)
  const rowTail = tail.length < UNIT_BYTES
  if (!rowTail) parts.push(tail)
  const length = totalLength(parts)
  const [units, rest] = split(parts, length - (length % UNIT_BYTES))
  const [left, right] = [rowHead ? head : NO_BYTES, rowTail ? tail : NO_BYTES]
  if (units.length === 0) return { head: concat(left, ...rest, right), tail: NO_BYTES, units }
  return { head: left, tail: concat(...rest, right), units }
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
