/** `zblkfs clone SRC DST`: an independent copy that shares all bytes. */
import { Command } from 'commander'
import { CommandError } from '../failure.ts'
import { change } from '../history-changes.ts'
import { findSource, innerPath } from '../history-source.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

export function cloneCommand(): Command {
  return new Command('clone')
    .description('Copy a file or directory without copying data; the copy is independent from then on.')
    .argument('<src>', 'a path in a mount; with --db, a path in the database')
    .argument('<dst>', 'a path that does not exist, or a directory')
    .addOption(databaseOption())
    .action(async (src: string, dst: string, { db }: DatabaseOption) => {
      const source = db === undefined ? await findSource(src) : await findSource(db, src)
      const target = db === undefined ? await findSource(dst) : { ...source, path: innerPath(dst) }
      if (source.database !== target.database)
        throw new CommandError(`${src} and ${dst} are in different databases: copy with cp`)
      const { tid } = await change(source, 'clone', { source: source.path, target: target.path })
      console.log(`${src} is cloned to ${dst} (transaction ${tid})`)
    })
}
