/** `zblkfs tag NAME [WHEN]`, `tag -l`, `tag -d NAME`: names for moments. */
import { decodedPath } from '../../core/printable.ts'
import { formatTime, momentToSend, timelineOf } from '../../store/moments.ts'
import { Command } from 'commander'
import { storedName } from '../../core/stored-names.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { formatTid } from '../../store/ids.ts'
import { UsageError } from '../failure.ts'
import { lineFormat, withLineOptions, type LineOptions } from '../line-format.ts'
import { change } from '../history-changes.ts'
import { findSource, withStore, type HistorySource } from '../history-source.ts'
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
      if (deleted !== undefined) await change(source, 'untag', { name: storedName(deleted) })
      else if (name === undefined) await printTags(source, options)
      else {
        const moment = when === undefined || when === 'now' ? {} : { when: momentToSend(storedName(when)) }
        const { tid } = await change(source, 'tag', { name: storedName(name), force, ...moment })
        say(`${name} is ${tid}`)
      }
    })
  return withLineOptions(command, 'with -l, print one line of JSON per tag')
}

async function printTags({ database }: HistorySource, options: LineOptions): Promise<void> {
  const format = lineFormat(options)
  await withStore(database, async store => {
    const { superblock } = await MomentView.open(store, await store.lastTid())
    const timeline = await timelineOf(store)
    await paged(async line => {
      for await (const tag of superblock.allTags()) {
        const tid = formatTid(tag.tid)
        const timeMs = timeline.timeOf(tag.tid)
        const text =
          options.json === true
            ? JSON.stringify({ name: decodedPath(tag.name), tid, time: new Date(timeMs).toISOString() })
            : `${tid}  ${formatTime(timeMs)}  ${format.name(tag.name)}`
        if (!(await line(text))) return
      }
    }, format)
  })
}
