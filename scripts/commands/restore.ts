/** `zblkfs restore PATH --at WHEN [--to NEWPATH]`: a file or directory as it was, without copying data. */
import { momentToSend } from '../../store/moments.ts'
import { Command } from 'commander'
import { storedName, storedPath } from '../../core/stored-names.ts'
import { change } from '../history-changes.ts'
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
      const { tid } = await change(target, 'restore', {
        path: source.path,
        at: momentToSend(storedName(when)),
        force,
        ...(to !== undefined && { to: target.path }),
      })
      say(`${to ?? path} is restored (transaction ${tid})`)
    })
}
