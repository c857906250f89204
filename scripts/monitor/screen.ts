/** What `zblkfs top` shows: a screen for a terminal of any size, or a line for each second. */
import { printable } from '../../core/printable.ts'
import type { MountStats } from '../../mount/daemon/mount-stats.ts'
import { formatDuration } from '../../store/durations.ts'
import { formatBytes } from '../units.ts'
import type { OperationRate, Rates } from './rates.ts'

const LABEL_WIDTH = 11
const SPARKS = '▁▂▃▄▅▆▇█'

/** What a screen is drawn from. */
export interface View {
  readonly directory: string
  readonly source: string
  readonly stats: MountStats
  readonly rates: Rates
  /** Bytes read and written in each of the last seconds, the newest last. */
  readonly readHistory: readonly number[]
  readonly writeHistory: readonly number[]
}

const perSecond = (bytes: number): string => `${formatBytes(Math.round(bytes))}/s`

/** A rate or count with three digits that matter. */
const number = (value: number): string =>
  value >= 100 || value === 0 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)

/** `12 us`, `3.4 ms`, `1.2 s`. */
export function formatLatency(ms: number): string {
  if (!Number.isFinite(ms)) return '> 16 s'
  if (ms < 1) return `${(ms * 1000).toFixed(0)} us`
  return ms < 1000 ? `${number(ms)} ms` : `${number(ms / 1000)} s`
}

const duration = (ms: number): string => formatDuration(Math.round(ms / 1000) * 1000)

/** The lines of a screen of `columns` and at most `rows`. */
export function screenLines(view: View, columns: number, rows: number): readonly string[] {
  const { directory, source, stats, rates } = view
  const upMs = stats.timeMs - stats.sinceMs
  const title = `zblkfs top  ${directory}  ${source}  up ${duration(upMs)}`
  const sparkWidth = Math.max(0, Math.min(60, columns - 40))
  const operations = operationLines(rates.operations)
  const lines = [
    title,
    '',
    label('read', `${perSecond(rates.readBytes).padEnd(14)} ${sparkline(view.readHistory, sparkWidth)}`),
    label(
      'written',
      `${perSecond(rates.writtenBytes).padEnd(14)} ${sparkline(view.writeHistory, sparkWidth)}`,
    ),
    label('requests', `${number(rates.requests)}/s, ${number(rates.errors)}/s answered with an error`),
    ...fileSystemLines(stats, rates),
    ...databaseLines(stats, rates),
    label(
      'daemon',
      `${formatBytes(stats.residentBytes)} of memory, ${number(rates.processors * 100)} % of a processor`,
    ),
    ...troubleLines(stats),
    '',
    ...operations,
  ]
  const shown = lines.slice(0, Math.max(1, rows - 1))
  while (shown.length < rows - 1) shown.push('')
  return [...shown, 'q: end'].slice(0, rows).map(line => printable(line).slice(0, columns))
}

const label = (name: string, text: string): string => `  ${name.padEnd(LABEL_WIDTH)}${text}`

function fileSystemLines({ fileSystem }: MountStats, rates: Rates): readonly string[] {
  if (fileSystem === undefined) return []
  const { cacheBytes, cacheLimitBytes, dirtyBytes, dirtyLimitBytes, dirtyAgeMs } = fileSystem
  const hits = rates.hitRatio === undefined ? '' : `, ${(rates.hitRatio * 100).toFixed(1)} % hits`
  const age = dirtyBytes > 0 || dirtyAgeMs > 0 ? `, the oldest ${formatLatency(dirtyAgeMs)} old` : ''
  const failed = rates.failedCommits > 0 ? `, ${number(rates.failedCommits)}/s FAILED` : ''
  const average = rates.commits > 0 ? `, ${formatLatency(rates.commitAverageMs)} each` : ''
  return [
    label('cache', `${formatBytes(cacheBytes)} of ${formatBytes(cacheLimitBytes)}${hits}`),
    label('dirty', `${formatBytes(dirtyBytes)} of ${formatBytes(dirtyLimitBytes)}${age}`),
    label('commits', `${number(rates.commits)}/s${average}${failed}`),
  ]
}

function databaseLines({ database, pack, tid }: MountStats, rates: Rates): readonly string[] {
  if (database === undefined) return [label('database', `transaction ${tid}`)]
  const { totalBytes, availableBytes } = database
  const disk = availableBytes === undefined ? '' : `, ${formatBytes(availableBytes)} free on its disk`
  const packing =
    pack === undefined
      ? ''
      : pack.isRunning
        ? ', a pack is running'
        : pack.expectedBytes > 0
          ? `, a pack would free ${formatBytes(pack.expectedBytes)}`
          : ''
  return [
    label(
      'history',
      `grows by ${perSecond(rates.storedBytes)}, ${number(rates.revisions)} revisions/s${packing}`,
    ),
    label('database', `${formatBytes(totalBytes)}, transaction ${tid}${disk}`),
  ]
}

function troubleLines({ failure, problems, isConnected }: MountStats): readonly string[] {
  return [
    ...(failure === undefined ? [] : [label('STORING', `fails: ${failure}`)]),
    ...(isConnected === false ? [label('SERVER', 'does not answer')] : []),
    ...(problems.damage === 0
      ? []
      : [label('DAMAGE', `found ${problems.damage} times: 'zblkfs status' shows the last`)]),
    ...(problems.errors === 0
      ? []
      : [label('log', `${problems.errors} errors: 'zblkfs status' shows the last`)]),
  ]
}

function operationLines(operations: readonly OperationRate[]): readonly string[] {
  const cells = operations.map(({ name, perSecond, averageMs, p99Ms, errorsPerSecond }) => [
    name,
    number(perSecond),
    formatLatency(averageMs),
    formatLatency(p99Ms),
    errorsPerSecond === 0 ? '' : number(errorsPerSecond),
  ])
  const header = ['OPERATION', 'PER SECOND', 'AVERAGE', '99 % WITHIN', 'ERRORS/S']
  return [header, ...cells].map(
    ([name = '', ...rest]) => `  ${name.padEnd(16)}${rest.map(cell => cell.padStart(13)).join('')}`,
  )
}

/** Values as bars of one character each, the highest as high as the line. */
export function sparkline(values: readonly number[], width: number): string {
  if (width === 0) return ''
  const shown = values.slice(-width)
  const highest = Math.max(...shown, 1)
  return shown
    .map(value => (value === 0 ? ' ' : SPARKS[Math.floor((value / highest) * (SPARKS.length - 1))]))
    .join('')
}

const COLUMNS: readonly (readonly [title: string, width: number, value: (view: View) => string])[] = [
  ['TIME', 10, ({ stats }) => new Date(stats.timeMs).toTimeString().slice(0, 8)],
  ['REQUESTS/S', 11, ({ rates }) => number(rates.requests)],
  ['ERRORS/S', 9, ({ rates }) => number(rates.errors)],
  ['READ/S', 11, ({ rates }) => formatBytes(Math.round(rates.readBytes))],
  ['WRITTEN/S', 11, ({ rates }) => formatBytes(Math.round(rates.writtenBytes))],
  ['DIRTY', 11, ({ stats }) => formatBytes(stats.fileSystem?.dirtyBytes ?? 0)],
  ['COMMITS/S', 10, ({ rates }) => number(rates.commits)],
  ['HISTORY/S', 11, ({ rates }) => formatBytes(Math.round(rates.storedBytes))],
  ['HITS', 7, ({ rates }) => (rates.hitRatio === undefined ? '-' : `${(rates.hitRatio * 100).toFixed(0)} %`)],
  ['MEMORY', 9, ({ stats }) => formatBytes(stats.residentBytes)],
]

/** The titles of {@link plainLine}. */
export const plainHeader = (): string => COLUMNS.map(([title, width]) => title.padStart(width)).join('')

/** One line for a second. */
export const plainLine = (view: View): string =>
  COLUMNS.map(([, width, value]) => value(view).padStart(width)).join('')
