/** Requests to the server, and how values are shown. */
import type * as Answers from '../answers.ts'

interface Queries {
  readonly info: Answers.Info
  readonly moment: Answers.Moment
  readonly timeline: Answers.Intervals
  readonly log: Answers.Log
  readonly list: Answers.Listing
  readonly file: Answers.FileDetails
  readonly diff: Answers.Differences
  readonly patch: Answers.Patch
  readonly usage: Answers.Usage
  readonly live: Answers.Live
}

type Values = Readonly<Record<string, string | number | undefined>>

const searchOf = (values: Values): string =>
  new URLSearchParams(
    Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : [[key, String(value)]])),
  ).toString()

/** A path as a parameter: JSON, because a name may be no valid Unicode. */
export const pathValue = (path: string): string => JSON.stringify(path)

/** @throws Error with the server's message. */
export async function query<Name extends keyof Queries>(
  name: Name,
  values: Values = {},
  signal?: AbortSignal,
): Promise<Queries[Name]> {
  const response = await fetch(`api/${name}?${searchOf(values)}`, signal === undefined ? {} : { signal })
  return (await answerOf(response)) as Queries[Name]
}

/** Changes the database; resolves to the new transaction. @throws Error with the server's message. */
export async function change(name: string, values: Values): Promise<string> {
  const response = await fetch(`change/${name}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(values),
  })
  return ((await answerOf(response)) as { readonly tid: string }).tid
}

async function answerOf(response: Response): Promise<unknown> {
  const answer = (await response.json()) as { readonly error?: string }
  if (!response.ok) throw new Error(answer.error ?? response.statusText)
  return answer
}

export const rawUrl = (path: string, at: string | undefined, isDownload: boolean): string =>
  `raw?${searchOf({ path: pathValue(path), at, download: isDownload ? '1' : undefined })}`

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']

export function bytesText(bytes: number): string {
  const unit = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10))
  const value = bytes / 2 ** (10 * unit)
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${UNITS[unit] ?? ''}`
}

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' })
const STEPS: readonly (readonly [Intl.RelativeTimeFormatUnit, number])[] = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
]

export const timeText = (time: number): string => TIME.format(time)

export function ageText(time: number, now: number = Date.now()): string {
  const seconds = (time - now) / 1000
  const [unit, length] = STEPS.find(([, length]) => Math.abs(seconds) >= length) ?? ['second', 1]
  return RELATIVE.format(Math.round(seconds / length), unit)
}

/** A path for display; what is not Unicode or a control character is marked. */
export const shown = (path: string): string => path.toWellFormed().replaceAll(/\p{Cc}/gu, '�')
