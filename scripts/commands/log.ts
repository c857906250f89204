/** `zblkfs log DB|DIR [PATH]`: the transactions, newest first. */
import { Command } from 'commander'
import type { Transaction } from '../../core/database/changes.ts'
import { DatabaseHistory, type LogOptions } from '../../core/database/history.ts'
import { textOfStored } from '../../core/stored-names.ts'
import { warn } from '../say.ts'
import { isGlob } from '../../core/history/glob.ts'
import type { Store } from '../../store/store.ts'
import { CodedError } from '../../store/errors.ts'
import { explain } from '../advice.ts'
import { CommandError, EXIT_FAILURE, UsageError } from '../failure.ts'
import {
  findSource,
  lacksKey,
  momentOf,
  startOf,
  withAnyStore,
  withStore,
  type HistorySource,
} from '../history-source.ts'
import { isForeignDatabase } from '../history-source.ts'
import { lineFormat, withLineOptions, type LineOptions } from '../line-format.ts'
import { paged } from '../pager.ts'
import { bytesOfPattern } from '../byte-pattern.ts'
import {
  ALL_FILES,
  FILES_SHOWN,
  transactionAsJson,
  transactionLine,
  transactionLines,
} from '../transaction-lines.ts'

const NOTES = `
A denotes an added file, M a changed one, D a removed one, R a renamed one. PATH may be a pattern ('*.jpg', 'src/**'), and
may name a file that was removed. BYTES may contain \\xHH, \\n, \\t and \\\\.`

interface Options extends LineOptions {
  readonly since?: string
  readonly until?: string
  readonly number?: string
  readonly oneline?: boolean
  readonly patch?: boolean
  readonly deleted?: boolean
  readonly grep?: string
  readonly S?: string
}

export function logCommand(): Command {
  const command = new Command('log')
    .description('List the transactions, newest first, with what each changed.')
    .argument('<db|dir>', 'a database, a mount, or a path in a mount')
    .argument('[path]', 'only changes of this file, in this directory, or of files that match this pattern')
    .option('-n, --number <count>', 'list at most this many')
    .option('--since <when>', 'only those after this moment: a tid, a time, an age, or a tag')
    .option('--until <when>', 'only those up to this moment')
    .option('--oneline', 'one line per transaction')
    .option('-p, --patch', 'show how text files changed, line by line')
    .option('--deleted', 'only files that were removed')
    .option('--grep <pattern>', 'only transactions whose message matches this regular expression')
    .option('-S <bytes>', 'only files in which the number of occurrences of these bytes changed')
    .addHelpText('after', NOTES)
    .action(async (place: string, inner: string | undefined, options: Options) => {
      const source = await findPlaceOrPattern(place, inner)
      if (await isForeignDatabase(source.database))
        await withAnyStore(source.database, store => listForeign(store, source, options))
      else
        await withStore(
          source.database,
          store =>
            lacksKey(store)
              ? listLegible(store, source, options)
              : list(new DatabaseHistory(store), source, options),
          { mayLackKey: true },
        )
    })
  return withLineOptions(command, 'print one line of JSON per transaction')
}

interface Place extends HistorySource {
  readonly pattern?: string
}

async function findPlaceOrPattern(place: string, inner: string | undefined): Promise<Place> {
  if (inner === undefined || !isGlob(inner)) return await findSource(place, inner)
  const source = await findSource(place)
  const prefix = textOfStored(source.path)
  return {
    ...source,
    pattern: prefix === '' ? inner : `${prefix}/${inner.includes('/') ? '' : '**/'}${inner}`,
  }
}

async function list(history: DatabaseHistory, source: Place, options: Options): Promise<void> {
  const { json = false, oneline = false, patch = false } = options
  const format = lineFormat(options)
  const isWhole = json || format.isRaw
  const found = history.log({
    ...rangeOf(source, options),
    ...filterOf(options),
    names: isWhole || patch ? ALL_FILES : FILES_SHOWN,
    listsDamaged: true,
    ...(source.pattern === undefined ? { path: textOfStored(source.path) } : { pattern: source.pattern }),
  })
  const textOf = async function* (transaction: Transaction): AsyncGenerator<string> {
    if (json) yield transactionAsJson(transaction)
    else if (oneline) yield transactionLine(transaction, format)
    else yield* transactionLines(transaction, format)
    if (!patch || json || transaction.damage !== undefined) return
    let isFirst = true
    for await (const bytes of transaction.patch()) {
      if (isFirst && !oneline) yield ''
      isFirst = false
      yield format.patch(bytes)
    }
    if (!isFirst) yield ''
  }
  const damages: Error[] = []
  await paged(async line => {
    for await (const transaction of found) {
      if (transaction.damage !== undefined) damages.push(transaction.damage)
      for await (const text of textOf(transaction)) if (!(await line(text))) return
    }
  }, format)
  reportDamage(damages)
}

/** The other transactions have been listed; the exit code is that of a failure. */
function reportDamage([first, ...others]: readonly Error[]): void {
  if (first === undefined) return
  const transactions = others.length === 0 ? 'a transaction' : `${others.length + 1} transactions`
  const reason = first instanceof CodedError ? explain(first) : first.message
  warn(`the changes of ${transactions} cannot be read: ${reason}`)
  process.exitCode = EXIT_FAILURE
}

function rangeOf(
  { moment }: HistorySource,
  { since, until = moment, number }: Options,
): Pick<LogOptions, 'since' | 'until' | 'limit'> {
  const limit = number === undefined ? Infinity : Number(number)
  if (Number.isNaN(limit) || limit < 0) throw new UsageError(`-n ${number} is not a number of transactions`)
  // A path into a moment has the history up to that.
  return { limit, ...(since !== undefined && { since }), ...(until !== undefined && { until }) }
}

function filterOf({ deleted = false, grep, S }: Options): LogOptions {
  return {
    ...(deleted && { removed: true }),
    ...(grep !== undefined && { grep: expression(grep) }),
    ...(S !== undefined && { contains: bytesOfPattern('-S', S) }),
  }
}

function expression(text: string): RegExp {
  try {
    return new RegExp(text, 'u')
  } catch (error) {
    throw new UsageError(`--grep ${text} is not a regular expression`, { cause: error })
  }
}

/** A ZODB database has no files of ours, and is not searched. */
async function listForeign(store: Store, source: Place, options: Options): Promise<void> {
  if (isSearch(source, options) || options.oneline !== undefined)
    throw new CommandError(
      `${store.name} is a ZODB database: its log has no patterns, searches and patches; import it first`,
    )
  await listSums(store, source, options)
}

/** Lists moments and sizes of an encrypted database without its key. */
async function listLegible(store: Store, source: Place, options: Options): Promise<void> {
  if (isSearch(source, options) || source.path !== '')
    throw new CommandError(
      `${store.name} is encrypted, and no key was given: without it, the log has no paths, searches and patches`,
      { code: 'key-needed' },
    )
  await listSums(store, source, options)
  warn('no key was given: messages and the names of files are encrypted')
}

const isSearch = ({ pattern }: Place, { deleted, grep, patch, S }: Options): boolean =>
  (deleted ?? grep ?? patch ?? S ?? pattern) !== undefined

async function listSums(store: Store, source: Place, options: Options): Promise<void> {
  const { since, until, limit = Infinity } = rangeOf(source, options)
  const upTo = until === undefined ? await store.lastTid() : await momentOf(store, until)
  const after = since === undefined ? undefined : await startOf(store, since)
  const range = { upTo, limit, ...(after !== undefined && { after }) }
  const { listTransactions } = await import('../foreign/listing.ts')
  await listTransactions(store, range, source.path, options)
}
