/** `zblkfs restore PATH --at WHEN [--to NEWPATH]`: a file or directory as it was, without copying data. */
import { momentToSend } from '../../store/moments.ts'
import { Command } from 'commander'
import { change } from '../history-changes.ts'
import { findSource, innerPath, storedName } from '../history-source.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

interface Options extends DatabaseOption {
  readonly at: string
  readonly to?: string
}

export function restoreCommand(): Command {
  return new Command('restore')
    .description('Make a file or directory what it was at a moment. Data is shared, not copied.')
    .argument('<path>', 'a path in a mount; with --db, a path in the database')
    .requiredOption('--at <when>', 'a tid, a time, an age, or a tag')
    .option('--to <newpath>', 'under another name')
    .addOption(databaseOption())
    .action(async (path: string, { at, to, db }: Options) => {
      const source = db === undefined ? await findSource(path) : await findSource(db, path)
      const newPath =
        to === undefined ? undefined : db === undefined ? (await findSource(to)).path : innerPath(to)
      const { tid } = await change(source, 'restore', {
        path: source.path,
        at: momentToSend(storedName(at)),
        ...(newPath !== undefined && { to: newPath }),
      })
      console.log(`${to ?? path} is as it was (transaction ${tid})`)
    })
}
