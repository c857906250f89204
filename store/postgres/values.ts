/**
 * Encoding of values. Arrays are sent in PostgreSQL's binary form, which costs a third of
 * the text form; results are decoded from text.
 *
 * | in an array  | length | is                                          |
 * |--------------|--------|---------------------------------------------|
 * | 0            | 4      | the number of dimensions: 1; big-endian, as all numbers |
 * | 4            | 4      | 1 if a value is null                        |
 * | 8            | 4      | the type of the values                      |
 * | 12           | 4      | their number                                |
 * | 16           | 4      | the index of the first: 1                   |
 * | for each     | 4      | its length, -1 for null                     |
 * |              |        | its bytes                                   |
 */
import { StoreError } from '../errors.ts'

const BYTEA = 17
const INT8 = 20
const INT4 = 23
const HEADER_BYTES = 20
const LENGTH_BYTES = 4

function startArray(
  type: number,
  count: number,
  bytes: number,
): { readonly buffer: Buffer; readonly view: DataView } {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + bytes)
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length)
  view.setInt32(0, 1)
  view.setInt32(4, 1)
  view.setInt32(8, type)
  view.setInt32(12, count)
  view.setInt32(16, 1)
  return { buffer, view }
}

/** A value for a parameter of type bigint[]. */
export function bigintArray(values: readonly (number | bigint | null)[]): Buffer {
  const { buffer, view } = startArray(INT8, values.length, values.length * (LENGTH_BYTES + 8))
  let at = HEADER_BYTES
  for (const value of values) {
    view.setInt32(at, value === null ? -1 : 8)
    at += LENGTH_BYTES
    if (value === null) continue
    view.setBigInt64(at, typeof value === 'bigint' ? value : BigInt(value))
    at += 8
  }
  return buffer.subarray(0, at)
}

/** A value for a parameter of type integer[]: the low 32 bits of each. */
export function integerArray(values: readonly number[]): Buffer {
  const { buffer, view } = startArray(INT4, values.length, values.length * (LENGTH_BYTES + 4))
  let at = HEADER_BYTES
  for (const value of values) {
    view.setInt32(at, 4)
    view.setInt32(at + LENGTH_BYTES, value | 0)
    at += LENGTH_BYTES + 4
  }
  return buffer
}

/** A value for a parameter of type bytea[]. */
export function byteaArray(values: readonly (Uint8Array | null)[]): Buffer {
  const bytes = values.reduce((sum, value) => sum + (value?.length ?? 0), 0)
  const { buffer, view } = startArray(BYTEA, values.length, values.length * LENGTH_BYTES + bytes)
  let at = HEADER_BYTES
  for (const value of values) {
    view.setInt32(at, value === null ? -1 : value.length)
    at += LENGTH_BYTES
    if (value === null) continue
    buffer.set(value, at)
    at += value.length
  }
  return buffer
}

const HEX_PREFIX = '\\x'

/** The bytes of a value of type bytea. @throws StoreError if it is invalid. */
export function bytesOf(text: string | null | undefined): Buffer {
  if (typeof text === 'string' && text.startsWith(HEX_PREFIX)) {
    const bytes = Buffer.from(text.slice(HEX_PREFIX.length), 'hex')
    if (bytes.length === (text.length - HEX_PREFIX.length) / 2) return bytes
  }
  throw damagedValue(text)
}

/** A value of type bigint. @throws StoreError if it is invalid. */
export function bigintOf(text: string | null | undefined): bigint {
  if (typeof text === 'string' && /^-?\d+$/.test(text)) return BigInt(text)
  throw damagedValue(text)
}

/** A value of type bigint or integer that is a safe integer. @throws StoreError if it is invalid. */
export function numberOf(text: string | null | undefined): number {
  const value = typeof text === 'string' ? Number(text) : Number.NaN
  if (Number.isSafeInteger(value)) return value
  throw damagedValue(text)
}

const damagedValue = (text: string | null | undefined): StoreError =>
  new StoreError(`the server gave '${String(text).slice(0, 40)}' where its tables have another type`, {
    code: 'damaged',
  })
