/**
 * Validates answers of a daemon, which are untrusted input: another user's daemon may send anything. An answer without
 * the form of the call's result is rejected, and control characters, which a terminal would interpret, are removed from text.
 */
import type { WireError } from '../../store/errors.ts'

export type Check = (value: unknown) => boolean
export type Shape = Readonly<Record<string, Check>>

const TEXT_MAX_LENGTH = 4096
/** Of a path that is shown (core/tree/shown-path.ts). */
const BASE64_MAX_LENGTH = 8192
const PID_MAX = 2 ** 22

export const text: Check = value => typeof value === 'string' && value.length <= TEXT_MAX_LENGTH
export const base64: Check = value =>
  typeof value === 'string' && value.length <= BASE64_MAX_LENGTH && /^[A-Za-z0-9+/]*={0,2}$/.test(value)
export const tid: Check = value => typeof value === 'string' && /^[0-9a-f]{16}$/.test(value)
export const pid: Check = value => Number.isInteger(value) && Number(value) > 0 && Number(value) <= PID_MAX
export const count: Check = value => typeof value === 'number' && Number.isFinite(value) && value >= 0
export const flag: Check = value => typeof value === 'boolean'
export const time: Check = value => typeof value === 'string' && !Number.isNaN(Date.parse(value))
export const optional =
  (check: Check): Check =>
  value =>
    value === undefined || check(value)
export const oneOf =
  (...words: readonly string[]): Check =>
  value =>
    words.includes(String(value))

/** Whether a value is an object whose fields pass the checks of `shape`; other fields are ignored. */
export const hasShape = (value: unknown, shape: Shape): boolean =>
  isObject(value) && Object.entries(shape).every(([name, check]) => check(value[name]))

export const isCounts: Check = value => Array.isArray(value) && value.every(count)

/** Of an object whose fields are all objects of one shape. */
export const everyField =
  (shape: Shape): Check =>
  value =>
    isObject(value) && Object.values(value).every(field => hasShape(field, shape))

/** Whether an answer has the form of a {@link WireError}. */
export const isWireError = (value: unknown): value is WireError =>
  isObject(value) &&
  text(value['message']) &&
  optional(text)(value['code']) &&
  isObject(value['details']) &&
  Object.values(value['details']).every(text)

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const printableText = (text: string): string => text.replaceAll(/(?!\n)\p{Cc}/gu, '\u{fffd}')

/** A value with all control characters in its texts, and in the names of its fields, replaced. */
export function printable(value: unknown): unknown {
  if (typeof value === 'string') return printableText(value)
  if (Array.isArray(value)) return value.map(printable)
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [printableText(name), printable(field)]),
  )
}
