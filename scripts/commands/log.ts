/** `zblkfs log DB|DIR [PATH]`: the transactions, newest first. */
import { decodedPath, printablePath } from '../../core/printable.ts'
import { formatTime, timelineOf } from '../../store/moments.ts'
import type { Timeline } from '../../store/timeline.ts'
import { Command } from 'commander'
import { FILES_MAX, log, type LoggedTransaction } from '../../core/history/log.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { formatTid, type Oid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { CommandError, UsageError } from '../failure.ts'
import { lineFormat, withLineOptions, type LineFormat, type LineOptions } from '../line-format.ts'
import { listTransactions } from '../foreign/listing.ts'
import { findSource, momentOf, withAnyStore } from '../history-source.ts'
import { paged } from '../pager.ts'
import { formatBytes } from '../units.ts'

const FILES_SHOWN = 20

interface Options extends LineOptions {
  readonly since?: string
  readonly until?: string
  readonly number?: string
}

export function logCommand(): Command {
  const command = new Command('log')
    .description('List the transactions, newest first, with what each changed.')
    .argument('<db|dir>', 'a database, a mount, or a path in a mount')
    .argument('[path]', 'only transactions that changed this file, or something in this directory')
    .option('-n, --number <count>', 'list at most this many')
    .option('--since <when>', 'only those after this moment: a tid, a time, an age, or a tag')
    .option('--until <when>', 'only those up to this moment')
    .action(async (place: string, inner: string | undefined, options: Options) => {
      const { database, path, moment } = await findSource(place, inner)
      await withAnyStore(database, store => list(store, path, { ...options, ...untilOf(moment, options) }))
    })
  return withLineOptions(command, 'print one line of JSON per transaction')
}

/** A path into a moment has the history up to that. */
const untilOf = (moment: string | undefined, { until }: Options): Options =>
  moment === undefined || until !== undefined ? {} : { until: moment }

async function list(
  store: Store,
  path: string,
  { since, until, number, ...options }: Options,
): Promise<void> {
  const { json = false } = options
  const format = lineFormat(options)
  const limit = number === undefined ? Infinity : Number(number)
  if (Number.isNaN(limit) || limit < 0) throw new UsageError(`-n ${number} is not a number of transactions`)
  const upTo = until === undefined ? await store.lastTid() : await momentOf(store, until)
  const after = since === undefined ? undefined : await momentOf(store, since)
  if (store.isForeign)
    return await listTransactions(
      store,
      { upTo, limit, ...(after !== undefined && { after }) },
      path,
      options,
    )
  const of = path === '' ? undefined : await oidOf(store, path, upTo)
  const names = json || format.isRaw ? FILES_MAX : FILES_SHOWN
  const range = {
    upTo,
    limit,
    names,
    ...(after !== undefined && { after }),
    ...(of !== undefined && { of }),
  }
  const timeline = await timelineOf(store)
  await paged(async line => {
    for await (const transaction of log(store, range))
      for (const text of json ? [asJson(transaction, timeline)] : asText(transaction, timeline, format))
        if (!(await line(text))) return
  }, format)
}

async function oidOf(store: Store, path: string, at: Tid): Promise<Oid> {
  const inode = await (await MomentView.open(store, at)).find(path)
  if (inode !== undefined) return inode.oid
  throw new CommandError(
    `there is no ${printablePath(path)} at ${formatTid(at)}: name a moment when it existed with --until`,
  )
}

function asJson({ info, files, fileCount }: LoggedTransaction, timeline: Timeline): string {
  const { tid, description, user, objects, bytes } = info
  return JSON.stringify({
    tid: formatTid(tid),
    time: new Date(timeline.timeOf(tid)).toISOString(),
    message: description,
    user,
    files: files.map(decodedPath),
    fileCount,
    objects,
    bytes,
  })
}

function asText(
  { info, files, fileCount }: LoggedTransaction,
  timeline: Timeline,
  format: LineFormat,
): string[] {
  const { tid, description, bytes } = info
  const count = `${fileCount} ${fileCount === 1 ? 'file' : 'files'}`
  const lines = [`${formatTid(tid)}  ${formatTime(timeline.timeOf(tid))}  ${count}, ${formatBytes(bytes)}`]
  const shown = format.isRaw ? files : files.slice(0, FILES_SHOWN)
  // A message made up of the files' names would tell them twice.
  if (description !== '' && description !== shown.map(decodedPath).join(', '))
    lines.push(`    ${format.text(description)}`)
  for (const file of shown) lines.push(`  ${format.name(file)}`)
  if (fileCount > shown.length) lines.push(`  and ${fileCount - shown.length} more`)
  return lines
}
