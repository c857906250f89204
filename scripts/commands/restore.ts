/** `zblkfs restore PATH --at WHEN [--to NEWPATH]`: a file or directory as it was, without copying data. */
import { Command } from 'commander'
import { storedPath, textOfStored } from '../../core/stored-names.ts'
import { withDatabase } from '../database.ts'
import { UsageError } from '../failure.ts'
import { assertPresent, assertSameDatabase, findSource } from '../history-source.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'
import { say } from '../say.ts'

interface Options extends DatabaseOption {
  readonly at?: string
  readonly to?: string
  readonly force?: boolean
}

export function restoreCommand(): Command {
  return new Command('restore')
    .description('Restore a file or directory from a moment. Data is shared, not copied.')
    .argument('<path>', 'a path in a mount; with --db, a path in the database')
    .option('--at <when>', 'the moment: a tid, a time, an age, or a tag (default: that of the path)')
    .option('--to <newpath>', 'restore to this path, which must not exist')
    .option('-f, --force', 'replace an existing file')
    .addOption(databaseOption())
    .action(async (path: string, { at, to, db, force = false }: Options) => {
      const source = db === undefined ? await findSource(path) : await findSource(db, path)
      const when = at ?? source.moment
      if (when === undefined) throw new UsageError(`name a moment with --at, or a path in one (/@WHEN/)`)
      let target = source
      if (to !== undefined)
        target = db === undefined ? await findSource(to) : { ...source, path: storedPath(to) }
      assertSameDatabase([path, source], [to ?? path, target])
      if (to !== undefined && db === undefined) assertPresent(to, target)
      const options = { force, ...(to !== undefined && { to: textOfStored(target.path) }) }
      const tid = await withDatabase(target, 'zblkfs restore', database =>
        database.restore(textOfStored(source.path), when, options),
      )
      say(`${to ?? path} is restored (transaction ${tid})`)
    })
}
