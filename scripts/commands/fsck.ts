/** `zblkfs fsck DB|DIR`: checks a database, mounted or not, and repairs it on request. */
import { existsSync } from '../../store/os-files.ts'
import { Command } from 'commander'
import { checkDatabase, type CheckSummary } from '../../core/check/check-database.ts'
import { describeDamage, type Damage } from '../../core/check/damage.ts'
import { CannotOpenError, CodedError, type ErrorCode, LockedError, StoreError } from '../../store/errors.ts'
import { returnFreedMemory } from '../../mount/daemon/allocator.ts'
import { isDatabaseUrl } from '../../store/database-name.ts'
import { openDatabase } from '../../store/open-store.ts'
import { isOwn, recognise } from '../../store/recognise.ts'
import { explain } from '../advice.ts'
import { UsageError } from '../failure.ts'
import { findTarget } from '../target.ts'
import { formatTime } from '../../store/moments.ts'
import { ProgressBar } from '../progress-bar.ts'
import { say, warn } from '../say.ts'
import { formatBytes } from '../units.ts'

const EXIT_REPAIRED = 1
const EXIT_DAMAGED = 4

interface Options {
  readonly data?: boolean
  readonly restart?: boolean
  readonly repair?: boolean
  readonly json?: boolean
}

/** The phases of a check that count bytes. */
const IN_BYTES: ReadonlySet<string> = new Set(['the bulk', 'the log'])

export function fsckCommand(): Command {
  return new Command('fsck')
    .description('Check a database, mounted or not, and report damage by path and range.')
    .argument('<db|dir>', 'the database, or a mount of it')
    .option('--data', 'also read and check every byte of file data')
    .option('--restart', 'with --data: read again what an interrupted check has read')
    .option('--repair', 'repair what can be repaired; the database must not be mounted')
    .option('--json', 'print one JSON object: damages and a summary')
    .addHelpText(
      'after',
      '\nExit code: 0 no damage, 1 all damage repaired, 2 wrong usage, 4 damage is left, the repair failed, or it cannot be opened.',
    )
    .action(async (target: string, options: Options) => {
      try {
        const { database } = await findTarget(target, options.repair === true ? 'change' : 'read')
        process.exitCode = await fsck(database, options)
      } catch (error) {
        if (error instanceof UsageError || !(error instanceof CodedError)) throw error
        // The exit code of a failure would say that damage was repaired.
        warn(explain(error))
        process.exitCode = EXIT_DAMAGED
      }
    })
}

async function fsck(
  path: string,
  { data = false, restart = false, repair = false, json = false }: Options,
): Promise<number> {
  if (restart && !data) throw new UsageError('--restart is of use with --data only')
  const kind = await recognise(path)
  if (kind === 'none') throw new UsageError(`${path} does not exist or is empty: check the name`)
  if (!isOwn(kind)) throw new UsageError(`${path} is a ${kind} database: only zblkfs's own can be checked`)
  const incomplete = repair ? undefined : await whyIncomplete(path, data)
  if (incomplete !== undefined) {
    warn(incomplete)
    return EXIT_DAMAGED
  }
  if (!repair) await warnOfIntents(path)
  const damages: Damage[] = []
  const bar = new ProgressBar()
  const report = (damage: Damage): void => {
    if (json) damages.push(damage)
    else bar.print(describeDamage(damage))
  }
  const startedMs = Date.now()
  let summary: CheckSummary
  try {
    returnFreedMemory()
    summary = await checkDatabase(path, {
      data,
      restart,
      repair,
      report,
      onResumed: (bytes, startedMs) => console.error(describeResumed(bytes, startedMs)),
      progress: (what, done, total) => bar.update(what, done, total, IN_BYTES.has(what) ? 'bytes' : 'count'),
    })
  } catch (error) {
    bar.stop()
    if (!isUnreadable(error) || isDatabaseUrl(path)) {
      if (!repair || !(error instanceof StoreError) || error instanceof LockedError) throw refused(error)
      warn(`the repair of ${path} failed: ${explain(error)}`)
      return EXIT_DAMAGED
    }
    // The damage is in the database of the branch.
    if (error.code === 'base-dropped') {
      warn(explain(error))
      return EXIT_DAMAGED
    }
    warn(error.message)
    console.error(
      `Copy ${path} (with ${path}-wal and ${path}-log) before anything else. If there is no older copy to restore, see what SQLite can save:\n` +
        `  sqlite3 ${path} .recover | sqlite3 NEW && cp -r ${path}-log NEW-log && zblkfs fsck --repair NEW`,
    )
    return EXIT_DAMAGED
  } finally {
    bar.stop()
  }
  if (json) console.log(JSON.stringify({ database: path, damages, summary }, jsonValue, 2))
  else say(describeSummary(path, summary, { data, repair }, Date.now() - startedMs))
  if (summary.left > 0) return EXIT_DAMAGED
  return summary.found > 0 ? EXIT_REPAIRED : 0
}

/** Warns of synced changes that no mount has replayed since a crash, which are not checked. A database that cannot be opened is. */
async function warnOfIntents(path: string): Promise<void> {
  await openDatabase(path, { readOnly: true, warn, mayLackKey: true }).then(
    store => store.close(),
    () => undefined,
  )
}

/**
 * What is missing of a database as a whole: its log, which would be found missing for every file, or its newest
 * transactions, without which a check finds an older state to be in order. Undefined if nothing is.
 */
async function whyIncomplete(path: string, data: boolean): Promise<string | undefined> {
  if (isDatabaseUrl(path)) return undefined
  try {
    await (await openDatabase(path, { readOnly: true, mayLackKey: true })).close()
    return undefined
  } catch (error) {
    if (!(error instanceof CannotOpenError)) return undefined
    if (error.code === 'not-whole') return explain(error)
    if (data || error.code !== 'damaged-log' || existsSync(`${path}-log`)) return undefined
    return (
      `${path} has lost its log: put ${path}-log, which has the bytes of its files, back next to it. ` +
      `If it is gone, 'zblkfs fsck --data' says what it held, and 'zblkfs fsck --repair' saves what is left.`
    )
  }
}

/** Whether the database is so damaged that it cannot be checked, let alone repaired. */
const isUnreadable = (error: unknown): error is StoreError =>
  (error instanceof CannotOpenError && !NOT_DAMAGED.has(error.code)) ||
  (error instanceof StoreError && error.code === 'damaged-file')

/** Why an intact database cannot be opened. */
const NOT_DAMAGED: ReadonlySet<ErrorCode> = new Set([
  'locked',
  'key-needed',
  'wrong-key',
  'in-use-elsewhere',
  'cannot-open',
  'no-space',
  'read-only-medium',
  'newer-format',
  'older-format',
])

function refused(error: unknown): unknown {
  if (error instanceof LockedError)
    return new UsageError(
      `${error.message}: unmount it to repair it ('zblkfs umount'); without --repair it can be checked while mounted`,
    )
  if (error instanceof CannotOpenError && (error.code === 'key-needed' || error.code === 'wrong-key'))
    return error
  return error instanceof CannotOpenError ? new UsageError(explain(error)) : error
}

const describeResumed = (bytes: number, startedMs: number): string =>
  `the first ${formatBytes(bytes)} of the log were read by a check of ${formatTime(startedMs)} that was interrupted (--restart reads them again)`

function describeSummary(
  path: string,
  { found, left, unreachable, inodes, lacksKey }: CheckSummary,
  { data, repair }: { readonly data: boolean; readonly repair: boolean },
  durationMs: number,
): string {
  const checked = lacksKey
    ? 'no key was given, so that only checksums and counts were compared, but no seal, name, object or reference'
    : `${inodes} files and directories`
  const what = `${checked}, ${data ? 'every byte' : 'without the bytes of files (--data)'}, ${(durationMs / 1000).toFixed(1)} s`
  const garbage =
    unreachable === 0 ? '' : `; ${unreachable} objects are no longer used ('zblkfs pack' frees them)`
  if (found === 0) return `${path} is clean: ${what}${garbage}`
  if (left === 0) return `${path} had ${found} damages, all repaired: ${what}${garbage}`
  const next = repair
    ? 'these could not be repaired'
    : `'zblkfs fsck --repair' saves what can be saved; copy the database first`
  return `${path} has ${left} damages: ${next} (${what})${garbage}`
}

const jsonValue = (key: string, value: unknown): unknown => {
  if (typeof value === 'bigint') return key === 'tid' ? value.toString(16).padStart(16, '0') : Number(value)
  return key === 'oid' && typeof value === 'number' ? value.toString(16).padStart(16, '0') : value
}
