/** `zblkfs tag NAME [WHEN]`, `tag -l`, `tag -d NAME`: names for moments. */
import { decodedPath, printable } from '../../core/printable.ts'
import { formatTime, momentToSend, timelineOf } from '../../store/moments.ts'
import { Command } from 'commander'
import { MomentView } from '../../core/history/moment-view.ts'
import { formatTid } from '../../store/ids.ts'
import { UsageError } from '../failure.ts'
import { change } from '../history-changes.ts'
import { findSource, storedName, withStore, type HistorySource } from '../history-source.ts'
import { paged } from '../pager.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'
import { say } from '../say.ts'

interface Options extends DatabaseOption {
  readonly list?: boolean
  readonly delete?: string
  readonly json?: boolean
  readonly force?: boolean
}

export function tagCommand(): Command {
  return new Command('tag')
    .description('Name a moment. It is kept by every pack, and shown as /@NAME/ in the mount.')
    .argument('[name]', 'the name')
    .argument('[when]', 'the moment: a tid, a time, an age, or a tag (default: now)')
    .option('-l, --list', 'list the tags')
    .option('-d, --delete <name>', 'delete a tag')
    .option('-f, --force', 'move an existing tag')
    .option('--json', 'with -l, print one line of JSON per tag')
    .addOption(databaseOption())
    .action(async (name: string | undefined, when: string | undefined, options: Options) => {
      const { list = false, delete: deleted, json = false, force = false } = options
      if ([list, deleted !== undefined, name !== undefined].filter(Boolean).length > 1)
        throw new UsageError('name a tag, or use -l or -d NAME')
      const source = await findSource(options.db ?? '.')
      if (deleted !== undefined) await change(source, 'untag', { name: storedName(deleted) })
      else if (name === undefined) await printTags(source, json)
      else {
        const moment = when === undefined || when === 'now' ? {} : { when: momentToSend(storedName(when)) }
        const { tid } = await change(source, 'tag', { name: storedName(name), force, ...moment })
        say(`${name} is ${tid}`)
      }
    })
}

async function printTags({ database }: HistorySource, json: boolean): Promise<void> {
  await withStore(database, async store => {
    const { superblock } = await MomentView.open(store, await store.lastTid())
    const timeline = await timelineOf(store)
    await paged(async line => {
      for await (const tag of superblock.allTags()) {
        const [name, tid] = [decodedPath(tag.name), formatTid(tag.tid)]
        const timeMs = timeline.timeOf(tag.tid)
        const time = json ? new Date(timeMs).toISOString() : formatTime(timeMs)
        if (!(await line(json ? JSON.stringify({ name, tid, time }) : `${tid}  ${time}  ${printable(name)}`)))
          return
      }
    })
  })
}
