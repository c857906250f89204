/** `zblkfs bisect PATH -- COMMAND`: finds the transaction that broke something, by running a command on past states. */
import { mkdtemp } from 'node:fs/promises'
import { open, rm, stat } from '../../store/os-files-async.ts'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import type { Transaction } from '../../core/database/changes.ts'
import { DatabaseHistory } from '../../core/database/history.ts'
import { firstBad, type Verdict } from '../../core/history/bisect.ts'
import { FileContent } from '../../core/history/file-content.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { MOMENT_PREFIX } from '../../core/file-system/reserved-names.ts'
import { printablePath } from '../../core/printable.ts'
import { storedPath, textOfStored } from '../../core/stored-names.ts'
import { isRegular } from '../../core/tree/inode.ts'
import { parseTid, TID_NONE } from '../../store/ids.ts'
import { formatTime } from '../../store/moments.ts'
import type { Store } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { findSource, withStore, type HistorySource } from '../history-source.ts'
import { lineFormat } from '../line-format.ts'
import { EXIT_NOT_FOUND, EXIT_SIGNAL, runCommand } from '../run-command.ts'
import { into } from '../pager.ts'
import { ALL_FILES, FILES_SHOWN, transactionAsJson, transactionLines } from '../transaction-lines.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

const EXIT_UNTESTABLE = 125
const EXIT_NOT_EXECUTABLE = 126
const PLACE = '{}'
const PERMISSIONS = 0o777

const NOTES = `
The command gets the path of the file or directory as it was, in place of {}, or as its last argument. Exit code 0 means that this
state is good, 125 that it cannot be judged, and any other up to 124 that it is bad; 126 and more end the search. ZBLKFS_TID has
the tid. Without --good, the first state that is kept has to be good. Of a database that is not mounted, the command gets
a copy of the file; directories need a mount.`

interface Options extends DatabaseOption {
  readonly good?: string
  readonly bad?: string
  readonly json?: boolean
}

export function bisectCommand(): Command {
  return new Command('bisect')
    .description('Find the transaction that broke a file or directory, by running a command on past states.')
    .argument('<path>', 'a path in a mount; with --db, a path in the database')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('--good <when>', 'a moment when the command succeeded (default: the first one)')
    .option('--bad <when>', 'a moment when it fails (default: that of the path, or now)')
    .option('--json', 'print the transaction as JSON')
    .addOption(databaseOption())
    .addHelpText('after', NOTES)
    .action(async (path: string, command: readonly string[], options: Options) => {
      const source = options.db === undefined ? await findSource(path) : await findSource(options.db, path)
      await withStore(source.database, store => bisect(store, source, command, options))
    })
}

/** A state that differs from the one before it. */
interface State {
  readonly transaction: Transaction
  /** The path that it had then. */
  readonly path: string
}

async function bisect(
  store: Store,
  source: HistorySource,
  command: readonly string[],
  options: Options,
): Promise<void> {
  const states = await statesOf(store, source, options)
  const name = printablePath(source.path)
  if (states.length < 2)
    throw new CommandError(
      `${name || '/'} has ${states.length === 0 ? 'no state' : 'one state only'} between the two moments`,
    )
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-bisect-'))
  const judge = async (index: number): Promise<Verdict> => {
    const state = states[index]
    if (state === undefined) throw new RangeError(`there is no state ${index}`)
    const verdict = await judgeState(store, source, state, command, scratch)
    const { tid, time } = state.transaction
    console.error(`${tid}  ${formatTime(time.getTime())}  ${verdict}`)
    return verdict
  }
  try {
    await assertEnds(states, judge)
    const { first, last } = await firstBad(states.length, judge)
    await print(store, states.slice(first, last + 1), options)
    if (first < last) {
      console.error(
        'zblkfs: the states before the last one could not be judged: the first bad one is one of these',
      )
      process.exitCode = 1
    }
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

/** The states of a path, oldest first: the one at the good moment, and each after it. */
async function statesOf(
  store: Store,
  { path, moment }: HistorySource,
  { good, bad = moment }: Options,
): Promise<readonly State[]> {
  const history = new DatabaseHistory(store)
  const begin = good === undefined ? TID_NONE : await history.moment(good)
  const text = textOfStored(path)
  const states: State[] = []
  const found = history.log({ path: text, names: 1, ...(bad !== undefined && { until: bad }) })
  for await (const transaction of found) {
    const [change] = transaction.changes
    // A file that the log follows through renames had this path then; of a directory, the change is somewhere below it.
    const isBelow = change === undefined || path === '' || change.path.startsWith(`${text}/`)
    states.push({ transaction, path: isBelow ? path : storedPath(change.path) })
    if ((parseTid(transaction.tid) ?? TID_NONE) <= begin) break
  }
  return states.toReversed()
}

/** @throws CommandError unless the first state is good and the last one bad. */
async function assertEnds(
  states: readonly State[],
  judge: (index: number) => Promise<Verdict>,
): Promise<void> {
  const last = await judge(states.length - 1)
  if (last !== 'bad')
    throw new CommandError(
      `the last state, ${states.at(-1)?.transaction.tid}, is ${last}: name with --bad a moment at which the command fails`,
    )
  const first = await judge(0)
  if (first !== 'good')
    throw new CommandError(
      `the first state, ${states[0]?.transaction.tid}, is ${first}: name with --good a moment at which the command succeeds`,
    )
}

/** @throws CommandError if the command cannot be run, or is interrupted. */
async function judgeState(
  store: Store,
  { mount }: HistorySource,
  state: State,
  command: readonly string[],
  scratch: string,
): Promise<Verdict> {
  const { tid } = state.transaction
  const place =
    mount === undefined
      ? await copyOf(store, state, scratch)
      : join(mount.mountPoint, `${MOMENT_PREFIX}${tid}`, textOfStored(state.path))
  if (place === undefined || (await stat(place).catch(() => undefined)) === undefined) return 'untestable'
  const words = command.map(word => word.replaceAll(PLACE, () => place))
  const isPlaced = command.some(word => word.includes(PLACE))
  const exitCode = await runCommand(isPlaced ? words : [...words, place], { ZBLKFS_TID: tid })
  if (exitCode === 0) return 'good'
  if (exitCode === EXIT_UNTESTABLE) return 'untestable'
  if (exitCode === EXIT_NOT_EXECUTABLE || exitCode === EXIT_NOT_FOUND || exitCode >= EXIT_SIGNAL)
    throw new CommandError(`the search ended: the command ended with exit code ${exitCode} at ${tid}`)
  return 'bad'
}

/** Copies a file's state from a database without a mount; undefined if it did not exist. @throws CommandError */
async function copyOf(
  store: Store,
  { transaction, path }: State,
  scratch: string,
): Promise<string | undefined> {
  const view = await MomentView.open(store, parseTid(transaction.tid) ?? TID_NONE)
  const inode = await view.find(path)
  if (inode === undefined) return undefined
  if (!isRegular(inode))
    throw new CommandError(
      `${printablePath(path) || '/'} is not a regular file: mount the database to search it`,
    )
  const copy = join(scratch, textOfStored(path).split('/').at(-1) ?? 'file')
  await rm(copy, { force: true })
  const content = await FileContent.of(view, inode)
  const file = await open(copy, 'wx', (inode.mode & PERMISSIONS) | 0o400)
  try {
    let end = 0
    for await (const piece of content.pieces()) {
      // What is zero remains a hole.
      if (piece.some(byte => byte !== 0)) await file.write(piece, 0, piece.length, end)
      end += piece.length
    }
    await file.truncate(end)
  } finally {
    await file.close()
  }
  return copy
}

/** Prints the transactions with everything that they changed, as `log` does. */
async function print(store: Store, states: readonly State[], { json = false }: Options): Promise<void> {
  const history = new DatabaseHistory(store)
  const format = lineFormat({})
  const names = json ? ALL_FILES : FILES_SHOWN
  await into(process.stdout, async line => {
    for (const { transaction } of states)
      for await (const whole of history.log({ until: transaction.tid, limit: 1, names }))
        if (json) await line(transactionAsJson(whole))
        else for (const text of transactionLines(whole, format)) await line(text)
  })
}
