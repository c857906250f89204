/** `zblkfs diff A B [PATH]`: what differs between two moments. */
import { Command } from 'commander'
import { asChange, type Change } from '../../core/database/changes.ts'
import type { Progress } from '../../store/capabilities.ts'
import { foreignDifferences } from '../../core/foreign/foreign-difference.ts'
import { bytesOf } from '../../store/os-text.ts'
import { decodedPath } from '../../core/printable.ts'
import { textOfStored } from '../../core/stored-names.ts'
import { withHistory } from '../database.ts'
import { CommandError } from '../failure.ts'
import {
  findSource,
  isForeignDatabase,
  momentOf,
  withAnyStore,
  type HistorySource,
} from '../history-source.ts'
import { ProgressBar } from '../progress-bar.ts'
import { lineFormat, withLineOptions, type LineFormat, type LineOptions } from '../line-format.ts'
import { paged } from '../pager.ts'
import { formatBytes } from '../units.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

const RANGES_SHOWN = 10
const MARKS = { added: '+', removed: '-', renamed: '>', changed: '*' } as const
const COLOURS = { added: 'green', removed: 'red', renamed: 'cyan', changed: 'yellow' } as const

interface Options extends DatabaseOption, LineOptions {
  readonly text?: boolean
}

export function diffCommand(): Command {
  const command = new Command('diff')
    .description('Show the files, and the byte ranges, in which two moments differ.')
    .argument('<a>', 'a moment: a tid, a time, an age, a tag, or now')
    .argument('<b>', 'another')
    .argument('[path]', 'only this file or directory; without --db, a path in the mount', '')
    .option('--text', "show how text files differ, line by line; 'patch -p1' applies it")
    .addOption(databaseOption())
    .action(async (a: string, b: string, path: string, { db, ...options }: Options) => {
      const source = db === undefined ? await findSource(path || '.') : await findSource(db, path)
      if (await isForeignDatabase(source.database)) await diffForeign(a, b, source, options)
      else
        await withHistory(source.database, async history => {
          const bar = new DiffProgress()
          const at = { path: textOfStored(source.path), progress: bar.update }
          if (options.text === true) await printPatch(history.patch(a, b, at), options, bar)
          else await print(history.diff(a, b, at), options, bar)
        })
    })
  return withLineOptions(command, 'print one line of JSON per difference')
}

async function diffForeign(
  a: string,
  b: string,
  { database, path }: HistorySource,
  options: Options,
): Promise<void> {
  if (options.text === true) throw new CommandError(`${database} is a ZODB database: import it first`)
  await withAnyStore(database, async store => {
    const [before, after] = [await momentOf(store, a), await momentOf(store, b)]
    const bar = new DiffProgress()
    await print(asChanges(foreignDifferences(store, before, after, path, bar.update)), options, bar)
  })
}

/** The differences of a ZODB database, in the form of the SDK. */
export async function* asChanges(differences: ReturnType<typeof foreignDifferences>): AsyncGenerator<Change> {
  for await (const difference of differences) yield asChange(difference)
}

/** A progress bar that ends with the first line if lines go to the same terminal. */
class DiffProgress {
  readonly #bar = new ProgressBar()
  #isOver = false

  readonly update: Progress = (...step) => {
    if (!this.#isOver) this.#bar.update(...step)
  }

  beforeLine(): void {
    if (process.stdout.isTTY) this.stop()
  }

  stop(): void {
    this.#isOver = true
    this.#bar.stop()
  }
}

async function print(changes: AsyncIterable<Change>, options: Options, bar: DiffProgress): Promise<void> {
  const format = lineFormat(options)
  await paged(async line => {
    for await (const change of changes) {
      bar.beforeLine()
      for (const text of options.json === true ? [changeAsJson(change)] : changeLines(change, format))
        if (!(await line(text))) return
    }
  }, format).finally(() => bar.stop())
}

async function printPatch(lines: AsyncIterable<Buffer>, options: Options, bar: DiffProgress): Promise<void> {
  const format = lineFormat(options)
  await paged(async line => {
    for await (const bytes of lines) {
      bar.beforeLine()
      if (!(await line(format.patch(bytes)))) return
    }
  }, format).finally(() => bar.stop())
}

/** A change as a line of JSON, after the fields of `head`. */
export function changeAsJson(
  { kind, pathBytes, from, mode, sizeBefore, sizeAfter, attributes, ranges }: Change,
  head: Readonly<Record<string, unknown>> = {},
): string {
  return JSON.stringify({
    ...head,
    kind,
    attributes,
    path: decodedPath(Buffer.from(pathBytes).toString('latin1')),
    ...(from !== undefined && { from: decodedPath(bytesOf(from).toString('latin1')) }),
    mode: mode.toString(8),
    // Sizes and offsets may be beyond what every reader's numbers hold.
    ...(sizeBefore !== undefined && { sizeBefore: String(sizeBefore) }),
    ...(sizeAfter !== undefined && { sizeAfter: String(sizeAfter) }),
    ranges: ranges.map(({ start, end }) => [String(start), String(end)]),
  })
}

/** A change as text of several lines. */
export const changeAsText = (change: Change): string => changeLines(change, lineFormat({})).join('\n')

export function changeLines(
  { kind, pathBytes, from, sizeBefore, sizeAfter, attributes, ranges }: Change,
  format: LineFormat,
): string[] {
  const path = format.name(Buffer.from(pathBytes).toString('latin1'))
  const name = from === undefined ? path : `${format.name(bytesOf(from).toString('latin1'))} -> ${path}`
  const details = attributes.filter(attribute => attribute !== 'mtime' && attribute !== 'size')
  if (sizeBefore !== undefined && sizeAfter !== undefined && sizeBefore !== sizeAfter)
    details.push(`${formatBytes(Number(sizeBefore))} -> ${formatBytes(Number(sizeAfter))}`)
  const bytes = ranges.reduce((sum, { start, end }) => sum + (end - start), 0n)
  if (bytes > 0n) details.push(`${formatBytes(Number(bytes))} changed`)
  if (details.length === 0 && kind === 'changed') details.push(...attributes)
  const about = details.length === 0 ? '' : `  (${details.join(', ')})`
  const lines = [`${format.colour(COLOURS[kind], MARKS[kind])} ${name}${about}`]
  for (const { start, end } of ranges.slice(0, RANGES_SHOWN)) lines.push(`    [${start}, ${end})`)
  if (ranges.length > RANGES_SHOWN) lines.push(`    and ${ranges.length - RANGES_SHOWN} more ranges`)
  return lines
}
