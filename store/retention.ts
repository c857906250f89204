/**
 * How long a database keeps its history by itself. Its owner sets it, the database stores it, and a pack that names no
 * moment follows it.
 *
 * | written                        | keeps                                             |
 * |--------------------------------|---------------------------------------------------|
 * | `7d`, `12h`, `90s`, ...        | that much of the past, and the state before it    |
 * | `0`                            | the present                                       |
 * | `all`                          | everything, for ever                              |
 */
import { formatDuration, parseDurationMs } from './durations.ts'

export interface Retention {
  /** In milliseconds; Infinity: all. */
  readonly keepMs: number
}

/** Of a database whose owner has set none. */
export const DEFAULT_RETENTION: Retention = { keepMs: 7 * 86_400_000 }

export const KEEP_ALL: Retention = { keepMs: Number.POSITIVE_INFINITY }

/** Undefined if the text is not a retention. */
export function parseRetention(text: string): Retention | undefined {
  const trimmed = text.trim()
  if (trimmed === 'all') return KEEP_ALL
  const keepMs = parseDurationMs(trimmed)
  return keepMs === undefined ? undefined : { keepMs }
}

/** As {@link parseRetention} reads it. */
export const formatRetention = ({ keepMs }: Retention): string =>
  keepMs === Number.POSITIVE_INFINITY ? 'all' : formatDuration(keepMs)

/**
 * The retention that a database has stored. A text that this version cannot parse was written by a later one: then everything is
 * kept, because a pack cannot be undone.
 */
export const storedRetention = (text: string): Retention => parseRetention(text) ?? KEEP_ALL
