/** `zblkfs tag NAME [WHEN]`, `tag -l`, `tag -d NAME`: names for moments. */
import { decodedPath } from '../../core/printable.ts'
import { formatTime } from '../../store/moments.ts'
import { Command } from 'commander'
import { storedName } from '../../core/stored-names.ts'
import { withDatabase, withHistory } from '../database.ts'
import { UsageError } from '../failure.ts'
import { lineFormat, withLineOptions, type LineOptions } from '../line-format.ts'
import { findSource, type HistorySource } from '../history-source.ts'
import { paged } from '../pager.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'
import { say } from '../say.ts'

interface Options extends DatabaseOption, LineOptions {
  readonly list?: boolean
  readonly delete?: string
  readonly force?: boolean
}

export function tagCommand(): Command {
  const command = new Command('tag')
    .description('Name a moment. It is kept by every pack, and shown as /@NAME/ in the mount.')
    .argument('[name]', 'the name')
    .argument('[when]', 'the moment: a tid, a time, an age, or a tag (default: now)')
    .option('-l, --list', 'list the tags')
    .option('-d, --delete <name>', 'delete a tag')
    .option('-f, --force', 'move an existing tag')
    .addOption(databaseOption())
    .action(async (name: string | undefined, when: string | undefined, options: Options) => {
      const { list = false, delete: deleted, force = false } = options
      if ([list, deleted !== undefined, name !== undefined].filter(Boolean).length > 1)
        throw new UsageError('name a tag, or use -l or -d NAME')
      const source = await findSource(options.db ?? '.')
      if (deleted !== undefined) await withDatabase(source, 'zblkfs tag', database => database.untag(deleted))
      else if (name === undefined) await printTags(source, options)
      else {
        const moment = when === undefined || when === 'now' ? {} : { at: when }
        const tid = await withDatabase(source, 'zblkfs tag', database =>
          database.tag(name, { force, ...moment }),
        )
        say(`${name} is ${tid}`)
      }
    })
  return withLineOptions(command, 'with -l, print one line of JSON per tag')
}

async function printTags({ database }: HistorySource, options: LineOptions): Promise<void> {
  const format = lineFormat(options)
  await withHistory(database, async history => {
    await paged(async line => {
      for await (const { name, tid, time } of history.tags()) {
        const stored = storedName(name)
        const text =
          options.json === true
            ? JSON.stringify({ name: decodedPath(stored), tid, time: time.toISOString() })
            : `${tid}  ${formatTime(time.getTime())}  ${format.name(stored)}`
        if (!(await line(text))) return
      }
    }, format)
  })
}
