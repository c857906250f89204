/**
 * Object ids and transaction ids.
 *
 * | id  | on disk            | in memory                | as text                      |
 * |-----|--------------------|--------------------------|------------------------------|
 * | Oid | 8 bytes big-endian | a safe integer           | 16 hex digits                |
 * | Tid | 8 bytes big-endian | a bigint below 2^63      | 16 hex digits                |
 *
 * A Tid is a ZODB TimeStamp: its high 4 bytes count minutes since 1900 in months of 31 days and years of
 * 12 such months, its low 4 bytes are the seconds of that minute times 2^32 / 60. Tids increase strictly,
 * so they order transactions and tell their time at once.
 */
declare const brand: unique symbol

/** The id of an object: an integer in `[0, 2^53)`. */
export type Oid = number & { readonly [brand]: 'Oid' }

/** The id of a transaction: an integer in `[0, 2^63)`; later transactions have larger ones. */
export type Tid = bigint & { readonly [brand]: 'Tid' }

/** The oid of the root mapping. */
export const ROOT_OID = 0 as Oid

/** Before every transaction. Also the "last change" of an object that does not exist yet. */
export const TID_NONE = 0n as Tid

/** After every transaction: `load(oids, TID_MAX)` returns the newest state. */
export const TID_MAX = 0x7fff_ffff_ffff_ffffn as Tid

/** Converts an integer to an Oid. @throws RangeError outside `[0, 2^53)`. */
export function oid(value: number | bigint): Oid {
  const n = Number(value)
  if (!Number.isSafeInteger(n) || n < 0)
    throw new RangeError(`${value} is not an oid: it must be in [0, 2^53)`)
  return n as Oid
}

/** Converts an integer to a Tid. @throws RangeError outside `[0, 2^63)`. */
export function tid(value: bigint): Tid {
  if (value < 0n || value > TID_MAX) throw new RangeError(`${value} is not a tid: it must be in [0, 2^63)`)
  return value as Tid
}

/** Declares a number an Oid without a check: it is from a verified row, or from another thread of this process. */
export const knownOid = (value: number): Oid => value as Oid

/** The same for a Tid; also for a number of which only the order matters. */
export const knownTid = (value: bigint): Tid => value as Tid

/** The ids of a row that may be damaged; a value that is not an id becomes 0. */
export const legibleIds = (oid: unknown, tid: unknown): { readonly oid: Oid; readonly tid: Tid } => ({
  oid: knownOid(typeof oid === 'bigint' || typeof oid === 'number' ? legibleOid(Number(oid)) : 0),
  tid: knownTid(typeof tid === 'bigint' && tid >= 0n && tid <= TID_MAX ? tid : 0n),
})

const legibleOid = (value: number): number => (Number.isSafeInteger(value) && value >= 0 ? value : 0)

/** An oid's 16 hex digits. */
export const formatOid = (value: Oid): string => value.toString(16).padStart(16, '0')

/** A tid's 16 hex digits. */
export const formatTid = (value: Tid): string => value.toString(16).padStart(16, '0')

/** Parses 16 hex digits as an oid; undefined for any other text. */
export function parseOid(text: string): Oid | undefined {
  if (!/^[0-9a-f]{16}$/i.test(text)) return undefined
  const value = BigInt(`0x${text}`)
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? oid(value) : undefined
}

/** Parses 16 hex digits as a tid; undefined for any other text. */
export function parseTid(text: string): Tid | undefined {
  if (!/^[0-9a-f]{16}$/i.test(text)) return undefined
  const value = BigInt(`0x${text}`)
  return value <= TID_MAX ? tid(value) : undefined
}

/** The first tid of a moment (milliseconds since 1970, UTC, fractions allowed). Source: persistent's TimeStamp. */
export function tidFromTime(timeMs: number): Tid {
  const wholeMinutesMs = Math.floor(timeMs / 60_000) * 60_000
  const date = new Date(wholeMinutesMs)
  const months = (date.getUTCFullYear() - 1900) * 12 + date.getUTCMonth()
  const minutes =
    ((months * 31 + date.getUTCDate() - 1) * 24 + date.getUTCHours()) * 60 + date.getUTCMinutes()
  const fraction = Math.floor(((timeMs - wholeMinutesMs) / 60_000) * 2 ** 32)
  return tid((BigInt(minutes) << 32n) | BigInt(fraction))
}

/** The moment of a tid, in milliseconds since 1970 (with a fraction). The inverse of {@link tidFromTime}. */
export function timeFromTid(value: Tid): number {
  let minutes = Number(value >> 32n)
  const minute = minutes % 60
  minutes = Math.floor(minutes / 60)
  const hour = minutes % 24
  minutes = Math.floor(minutes / 24)
  const day = minutes % 31
  minutes = Math.floor(minutes / 31)
  const start = Date.UTC(1900 + Math.floor(minutes / 12), minutes % 12, day + 1, hour, minute)
  return start + (Number(value & 0xffff_ffffn) / 2 ** 32) * 60_000
}

/** The tid of a transaction that is made at `nowMs` and follows `last`: later than both. */
export function nextTid(nowMs: number, last: Tid): Tid {
  const now = tidFromTime(nowMs)
  return now > last ? now : tid(last + 1n)
}
