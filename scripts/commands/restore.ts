/** `zblkfs restore PATH... --at WHEN [--to NEWPATH]`: files and directories as they were, without copying data. */
import { Command } from 'commander'
import type { RestoreChange } from '../../core/database/database.ts'
import { storedPath, textOfStored } from '../../core/stored-names.ts'
import { withDatabase } from '../database.ts'
import { UsageError } from '../failure.ts'
import { assertPresent, assertSameDatabase, findSource, type HistorySource } from '../history-source.ts'
import { lineFormat } from '../line-format.ts'
import { paged } from '../pager.ts'
import { say } from '../say.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

interface Options extends DatabaseOption {
  readonly at?: string
  readonly to?: string
  readonly force?: boolean
  readonly delete?: boolean
  readonly dryRun?: boolean
}

const NOTES = `
All paths are restored as one transaction, which 'zblkfs undo' reverts. Files keep their inodes. Without --delete, what was not there
at that moment stays. The mount's directory itself means the whole tree.`

const MARKS = { create: 'A', change: 'M', move: 'R', remove: 'D' } as const
const COLOURS = { create: 'green', change: 'yellow', move: 'cyan', remove: 'red' } as const

export function restoreCommand(): Command {
  return new Command('restore')
    .description('Restore files and directories from a moment. Data is shared, not copied.')
    .argument('<path...>', 'paths in a mount; with --db, paths in the database')
    .option('--at <when>', 'the moment: a tid, a time, an age, or a tag (default: that of the path)')
    .option('--delete', 'remove what was not there at that moment, and move back what was renamed')
    .option('-n, --dry-run', 'list what would change')
    .option('--to <newpath>', 'restore to this path, which must not exist')
    .option('-f, --force', 'with --to, replace an existing file')
    .addOption(databaseOption())
    .addHelpText('after', NOTES)
    .action(async (paths: readonly string[], options: Options) => {
      const { db } = options
      const sources = await Promise.all(
        paths.map(path =>
          db === undefined ? findSource(path, '', 'change') : findSource(db, path, 'change'),
        ),
      )
      const [source] = sources
      if (source === undefined) throw new UsageError('name a path')
      for (const [i, other] of sources.entries())
        assertSameDatabase([paths[0] ?? '', source], [paths[i] ?? '', other])
      const when = options.at ?? source.moment
      if (when === undefined) throw new UsageError(`name a moment with --at, or a path in one (/@WHEN/)`)
      if (options.to !== undefined) await restoreAs(paths, source, when, options.to, options)
      else await restore(paths, sources, source, when, options)
    })
}

async function restore(
  paths: readonly string[],
  sources: readonly HistorySource[],
  source: HistorySource,
  when: string,
  { delete: deletes = false, dryRun = false, force = false }: Options,
): Promise<void> {
  if (force) throw new UsageError('--force is for --to: in place, files are replaced anyway')
  const inner = sources.map(({ path }) => textOfStored(path))
  await withDatabase(source, 'zblkfs restore', async db => {
    if (dryRun) return await printPlan(db.restorePlan(inner, when, { delete: deletes }))
    const before = await db.sync()
    const tid = await db.restore(inner, when, { delete: deletes })
    const names = paths.join(', ')
    if (tid === before) say(`nothing has changed: ${names}`)
    else say(`${names} ${paths.length === 1 ? 'is' : 'are'} restored (transaction ${tid})`)
  })
}

async function restoreAs(
  paths: readonly string[],
  source: HistorySource,
  when: string,
  to: string,
  { db, force = false, delete: deletes = false, dryRun = false }: Options,
): Promise<void> {
  if (paths.length > 1) throw new UsageError('--to takes one path')
  if (deletes || dryRun) throw new UsageError('--to makes a copy: --delete and --dry-run are not for it')
  const target = db === undefined ? await findSource(to, '', 'change') : { ...source, path: storedPath(to) }
  assertSameDatabase([paths[0] ?? '', source], [to, target])
  if (db === undefined) assertPresent(to, target)
  const options = { force, to: textOfStored(target.path) }
  const tid = await withDatabase(target, 'zblkfs restore', database =>
    database.restore(textOfStored(source.path), when, options),
  )
  say(`${to} is restored (transaction ${tid})`)
}

async function printPlan(steps: AsyncIterable<RestoreChange>): Promise<void> {
  const format = lineFormat({})
  await paged(async line => {
    for await (const { kind, change } of steps) {
      const name = format.text(change.path || '/')
      const names =
        kind === 'move' && change.from !== undefined ? `${format.text(change.from)} -> ${name}` : name
      if (!(await line(`${format.colour(COLOURS[kind], MARKS[kind])}  ${names}`))) return
    }
  }, format)
}
