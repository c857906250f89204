/** `zblkfs diff A B [PATH]`: what differs between two moments. */
import { decodedPath } from '../../core/printable.ts'
import { Command } from 'commander'
import { differences, type Difference } from '../../core/history/difference.ts'
import { foreignDifferences } from '../../core/foreign/foreign-difference.ts'
import { findSource, momentOf, withAnyStore } from '../history-source.ts'
import { lineFormat, withLineOptions, type LineFormat, type LineOptions } from '../line-format.ts'
import { paged } from '../pager.ts'
import { formatBytes } from '../units.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

const RANGES_SHOWN = 10
const MARKS = { added: '+', removed: '-', renamed: '>', changed: '*' } as const

interface Options extends DatabaseOption, LineOptions {}

export function diffCommand(): Command {
  const command = new Command('diff')
    .description('Show the files, and the byte ranges, in which two moments differ.')
    .argument('<a>', 'a moment: a tid, a time, an age, a tag, or now')
    .argument('<b>', 'another')
    .argument('[path]', 'only this file or directory; without --db, a path in the mount', '')
    .addOption(databaseOption())
    .action(async (a: string, b: string, path: string, { db, ...options }: Options) => {
      const format = lineFormat(options)
      const source = db === undefined ? await findSource(path || '.') : await findSource(db, path)
      await withAnyStore(source.database, async store => {
        const [before, after] = [await momentOf(store, a), await momentOf(store, b)]
        const found = store.isForeign
          ? foreignDifferences(store, before, after, source.path)
          : differences(store, before, after, { path: source.path })
        await paged(async line => {
          for await (const difference of found)
            for (const text of options.json === true
              ? [differenceAsJson(difference)]
              : differenceLines(difference, format))
              if (!(await line(text))) return
        }, format)
      })
    })
  return withLineOptions(command, 'print one line of JSON per difference')
}

/** A difference as a line of JSON, after the fields of `head`. */
export function differenceAsJson(
  { path, from, mode, sizeBefore, sizeAfter, ranges, ...rest }: Difference,
  head: Readonly<Record<string, unknown>> = {},
): string {
  return JSON.stringify({
    ...head,
    ...rest,
    path: decodedPath(path),
    ...(from !== undefined && { from: decodedPath(from) }),
    mode: mode.toString(8),
    // Sizes and offsets may be beyond what every reader's numbers hold.
    ...(sizeBefore !== undefined && { sizeBefore: String(sizeBefore) }),
    ...(sizeAfter !== undefined && { sizeAfter: String(sizeAfter) }),
    ranges: ranges.map(({ lo, hi }) => [String(lo), String(hi)]),
  })
}

/** A difference as text of several lines. */
export const differenceAsText = (difference: Difference): string =>
  differenceLines(difference, lineFormat({})).join('\n')

function differenceLines(
  { kind, path, from, sizeBefore, sizeAfter, attributes, ranges }: Difference,
  format: LineFormat,
): string[] {
  const name = from === undefined ? format.name(path) : `${format.name(from)} -> ${format.name(path)}`
  const details = attributes.filter(attribute => attribute !== 'mtime' && attribute !== 'size')
  if (sizeBefore !== undefined && sizeAfter !== undefined && sizeBefore !== sizeAfter)
    details.push(`${formatBytes(Number(sizeBefore))} -> ${formatBytes(Number(sizeAfter))}`)
  const bytes = ranges.reduce((sum, { lo, hi }) => sum + (hi - lo), 0n)
  if (bytes > 0n) details.push(`${formatBytes(Number(bytes))} changed`)
  if (details.length === 0 && kind === 'changed') details.push(...attributes)
  const lines = [`${MARKS[kind]} ${name}${details.length === 0 ? '' : `  (${details.join(', ')})`}`]
  for (const { lo, hi } of ranges.slice(0, RANGES_SHOWN)) lines.push(`    [${lo}, ${hi})`)
  if (ranges.length > RANGES_SHOWN) lines.push(`    and ${ranges.length - RANGES_SHOWN} more ranges`)
  return lines
}
