/** `zblkfs watch DB|DIR [PATH]`: prints each new transaction with its changes. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Command } from 'commander'
import type { Change } from '../../core/database/changes.ts'
import { feed } from '../../core/database/feed.ts'
import { DatabaseHistory, type TransactionChanges } from '../../core/database/history.ts'
import { foreignDifferences } from '../../core/foreign/foreign-difference.ts'
import { printable } from '../../core/printable.ts'
import { textOfStored } from '../../core/stored-names.ts'
import { formatTid, tid as toTid, type Tid } from '../../store/ids.ts'
import { formatTime } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { findSource, momentOf, withAnyStore } from '../history-source.ts'
import { into } from '../pager.ts'
import { asChanges, changeAsJson, changeAsText } from './diff.ts'

interface Options {
  readonly since?: string
  readonly json?: boolean
  readonly exec?: string
}

type Write = (line: string) => Promise<boolean>

const NOTES = `
Without --since it begins with the next transaction. To resume after an interruption, pass the last tid that was handled;
0000000000000000 begins with everything that is kept. With --json a transaction's own line follows those of its changes, so once its
tid has been read the transaction is complete. If the command of --exec fails, the watch ends and names the tid to resume from.`

export function watchCommand(): Command {
  return new Command('watch')
    .description('Print each new transaction, with the files and byte ranges that it changed.')
    .argument('<db|dir>', 'a database, a mount, or a path in a mount')
    .argument('[path]', 'only changes of this file, or of what is in this directory')
    .option('--since <when>', 'first those after this moment: a tid, a time, an age, or a tag')
    .option('--json', 'a line of JSON for each change and each transaction')
    .option(
      '--exec <command>',
      'run this shell command for each transaction, with its lines of JSON as standard input',
    )
    .addHelpText('after', NOTES)
    .action(async (place: string, inner: string | undefined, options: Options) => {
      const { database, path } = await findSource(place, inner)
      await withAnyStore(database, store => watch(store, path, options))
    })
}

async function watch(store: Store, path: string, { since, json = false, exec }: Options): Promise<void> {
  const ended = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => ended.abort())
  const from = { signal: ended.signal, ...(since !== undefined && { since }) }
  const transactions = store.isForeign
    ? foreignFeed(store, path, from)
    : new DatabaseHistory(store).watch({ ...from, path: textOfStored(path) })
  if (exec !== undefined) {
    let handled = since ?? formatTid(await store.lastTid())
    for await (const transaction of transactions) {
      await run(exec, transaction, handled)
      handled = transaction.tid
    }
    return
  }
  await into(process.stdout, async line => {
    for await (const transaction of transactions)
      if (!(await (json ? writeJson(transaction, line) : writeText(transaction, line)))) return
  })
}

function foreignFeed(
  store: Store,
  path: string,
  options: Parameters<typeof feed>[1],
): AsyncGenerator<TransactionChanges> {
  const changesOf = (tid: Tid): AsyncGenerator<Change> =>
    asChanges(foreignDifferences(store, toTid(tid - 1n), tid, path))
  return feed({ store, moment: when => momentOf(store, when), changesOf }, options)
}

async function writeJson({ tid, time, message, changes }: TransactionChanges, line: Write): Promise<boolean> {
  let count = 0
  for await (const change of changes()) {
    count++
    if (!(await line(changeAsJson(change, { tid })))) return false
  }
  return await line(JSON.stringify({ tid, time: time.toISOString(), message, changes: count }))
}

async function writeText({ tid, time, message, changes }: TransactionChanges, line: Write): Promise<boolean> {
  if (!(await line(`${tid}  ${formatTime(time.getTime())}  ${printable(message)}`.trimEnd()))) return false
  for await (const change of changes())
    if (!(await line(changeAsText(change).replaceAll(/^/gm, '  ')))) return false
  return true
}

/** Runs a command for a transaction. @throws CommandError that names `before`, from which to resume, if it fails. */
async function run(command: string, transaction: TransactionChanges, before: string): Promise<void> {
  const { tid, message } = transaction
  const child = spawn('/bin/sh', ['-c', command], {
    stdio: ['pipe', 'inherit', 'inherit'],
    env: { ...process.env, ZBLKFS_TID: tid, ZBLKFS_MESSAGE: message },
  })
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  // A command need not read its input.
  await into(child.stdin, async line => void (await writeJson(transaction, line)))
  child.stdin.end()
  const [code, signal] = await exited
  if (code === 0) return
  throw new CommandError(
    `the command ${signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`} for transaction ${tid}: ` +
      `resume with --since ${before}`,
  )
}
