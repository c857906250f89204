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
  readonly hold?: boolean
  readonly release?: boolean
}

export function tagCommand(): Command {
  const command = new Command('tag')
    .description('Name a moment. It is kept by every pack, and shown as /@NAME/ in the mount.')
    .argument('[name]', 'the name')
    .argument('[when]', 'the moment: a tid, a time, an age, or a tag (default: now)')
    .option('-l, --list', 'list the tags')
    .option('-d, --delete <name>', 'delete a tag')
    .option('-f, --force', 'move an existing tag')
    .option('--hold', 'hold the tag, new or existing: it can be neither moved nor deleted until --release')
    .option('--release', 'release a held tag')
    .addOption(databaseOption())
    .action(async (name: string | undefined, when: string | undefined, options: Options) => {
      const { list = false, delete: deleted, force = false, hold, release } = options
      if ([list, deleted !== undefined, name !== undefined].filter(Boolean).length > 1)
        throw new UsageError('name a tag, or use -l or -d NAME')
      if (hold !== undefined && release !== undefined)
        throw new UsageError('--hold and --release exclude each other: use one of them')
      const holds = hold ?? (release === undefined ? undefined : false)
      if (holds !== undefined && name === undefined) throw new UsageError('name the tag to hold or release')
      if (release !== undefined && when !== undefined)
        throw new UsageError('a tag is released where it is: omit the moment')
      const place = options.db ?? '.'
      const isChange = name !== undefined || deleted !== undefined
      const source = await findSource(place, '', isChange ? 'change' : 'read')
      if (deleted !== undefined) await withDatabase(source, 'zblkfs tag', database => database.untag(deleted))
      else if (name === undefined) await printTags(source, options)
      else {
        const moment = when === undefined || (when === 'now' && holds === undefined) ? {} : { at: when }
        const tid = await withDatabase(source, 'zblkfs tag', database =>
          database.tag(name, { force, ...moment, ...(holds !== undefined && { hold: holds }) }),
        )
        say(`${name} is ${tid}${hold === true ? ', held' : ''}`)
      }
    })
  return withLineOptions(command, 'with -l, print one line of JSON per tag')
}

async function printTags({ database }: HistorySource, options: LineOptions): Promise<void> {
  const format = lineFormat(options)
  await withHistory(database, async history => {
    await paged(async line => {
      for await (const { name, tid, time, held } of history.tags()) {
        const stored = storedName(name)
        const text =
          options.json === true
            ? JSON.stringify({ name: decodedPath(stored), tid, time: time.toISOString(), held })
            : `${tid}  ${formatTime(time.getTime())}  ${format.name(stored)}${held && !format.isRaw ? '  (held)' : ''}`
        if (!(await line(text))) return
      }
    }, format)
  })
}
