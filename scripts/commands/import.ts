/** `zblkfs import SRC DB`: copies the big files of a ZODB database into a zblkfs database. */
import { existsSync } from '../../store/os-files.ts'
import { mkdir, rm, stat } from '../../store/os-files-async.ts'
import { dirname } from 'node:path'
import { Command } from 'commander'
import { CannotOpenError, StoreError } from '../../store/errors.ts'
import { formatOid, formatTid, timeFromTid, TID_NONE } from '../../store/ids.ts'
import { canonicalName, importMapPath, isDatabaseUrl } from '../../store/database-name.ts'
import { isOwn, recognise } from '../../store/recognise.ts'
import { openDatabase, openForeignDatabase, removeDatabase } from '../../store/open-store.ts'
import { retentionOf } from '../../core/pack/moments.ts'
import { describeRetention } from '../retention.ts'
import type { Store, WritableStore } from '../../store/store.ts'
import { explain } from '../advice.ts'
import { CommandError } from '../failure.ts'
import { sayLines, warn } from '../say.ts'
import { formatBytes } from '../units.ts'
import { count } from '../foreign/count.ts'
import { databasePath } from '../foreign/database-path.ts'
import { importDatabase, type ImportResult } from '../../core/foreign/import/import-database.ts'
import { isExport, restoreExport } from '../../core/foreign/import/restore-export.ts'
import { ProgressBar } from '../progress-bar.ts'

interface Options {
  readonly into: string
  readonly history?: boolean
}

export function importCommand(): Command {
  return new Command('import')
    .description('Copy the big files of a ZODB database into a zblkfs database.')
    .argument('<src>', "Data.fs, or RelStorage's main.sqlite3")
    .argument('<db>', 'the database; created if it does not exist')
    .option('--into <path>', 'the directory of the database that receives them', '/')
    .option('--history', 'import every transaction with its id, not only the newest state')
    .addHelpText(
      'after',
      '\nAn export by zblkfs is restored, unchanged, into a new database.' +
        '\nOther files get their paths from the root mapping; files without a name go to bigfile/<oid>.' +
        '\nFrom a packed database, --history imports what the pack has kept.' +
        '\nRepeat an interrupted import to resume it.',
    )
    .action(importFiles)
}

async function importFiles(src: string, db: string, { into, history = false }: Options): Promise<void> {
  const path = canonicalName(db)
  const kind = await recognise(path)
  if (!isOwn(kind) && kind !== 'none')
    throw new CannotOpenError(`${db} is a ZODB database: name a zblkfs database, or a new file`)
  const source = await openForeignDatabase(databasePath(src), { warn })
  const progress = new ProgressBar('bytes')
  try {
    await assertImportable(source, history)
    const isRestored = await isExport(source)
    const { size } = await stat(source.name)
    // How much of a database its present state takes is not known before it is copied.
    const total = isRestored || history ? size : 0
    const report: Report = (phase, bytes, compared) =>
      phase === 'copy'
        ? progress.add('copying', bytes, total)
        : progress.add('comparing', bytes, compared ?? total)
    const message = await withTarget(path, source, async target =>
      isRestored
        ? await restore(source, target, into, report)
        : await copy(source, target, { into, history }, report),
    )
    progress.stop()
    sayLines(message)
  } finally {
    progress.stop()
    await source.close()
  }
}

async function assertImportable(source: Store, history: boolean): Promise<void> {
  if ((await source.lastTid()) === TID_NONE)
    throw new CommandError(`${source.name} has no complete transaction: there is nothing to import`)
  if (history && source.capabilities.foreignHistory?.keepsHistory === false)
    throw new CommandError(
      `${source.name} is a history-free RelStorage database, which has no history: import it without --history`,
    )
}

/** Runs an import into the database at `path`. One that is new, and in which nothing was committed, is removed again. */
async function withTarget<T>(
  path: string,
  source: Store,
  run: (target: WritableStore) => Promise<T>,
): Promise<T> {
  if (isDatabaseUrl(path)) await mkdir(dirname(importMapPath(path)), { recursive: true, mode: 0o700 })
  const target = await openDatabase(path, {
    create: true,
    resumeImport: true,
    purpose: `an import from ${source.name}`,
  })
  const hadTransactions = (await target.lastTid()) !== TID_NONE
  try {
    return await run(target)
  } catch (error) {
    if (hadTransactions || (await target.lastTid()) !== TID_NONE) throw incomplete(path, error)
    await target.close()
    await removeDatabase(path)
    await rm(importMapPath(path), { force: true })
    throw error
  } finally {
    await target.close()
  }
}

/** The error of an import that failed with a part of it in the database. */
function incomplete(path: string, error: unknown): unknown {
  if (!(error instanceof StoreError) || !existsSync(importMapPath(path))) return error
  return new CommandError(
    `${explain(error)}\n${path} has part of the import: repeat the command to resume it, or remove ${importMapPath(path)} to keep that part`,
    { cause: error },
  )
}

/** Receives more bytes that were copied or compared, and how many are to be compared, if that is known. */
type Report = (phase: 'copy' | 'compare', bytes: number, compared?: number) => void

async function copy(
  source: Store,
  target: WritableStore,
  options: Options,
  progress: Report,
): Promise<string> {
  const history = options.history ?? false
  const result = await importDatabase({
    source,
    target,
    mapPath: importMapPath(target.name),
    into: normalise(options.into),
    history,
    progress,
  })
  const { files, transactions, comparedBytes, upTo } = result
  const newest = await source.lastTid()
  return [
    `imported ${count(files, 'file')} in ${count(transactions, 'transaction')}; compared ${formatBytes(comparedBytes)} of blocks: all are the same`,
    ...(files === 0 ? ['it has no ZBigFile'] : []),
    ...(history ? [...(await packReport(source)), await retentionReport(target)] : []),
    ...missingReport(source, result),
    ...(newest > upTo
      ? [
          `it is as of transaction ${formatTid(upTo)}; ${source.name} has gone on to ${formatTid(newest)} since`,
        ]
      : []),
  ].join('\n')
}

/** A line about how long the history that was imported is kept. */
async function retentionReport(store: Store): Promise<string> {
  return `${describeRetention(await retentionOf(store))}; 'zblkfs history ${store.name} --keep 7d' sets that`
}

/** A line about a source that was packed. */
async function packReport(source: Store): Promise<string[]> {
  const packed = (await source.capabilities.foreignHistory?.packedUpTo()) ?? TID_NONE
  if (packed === TID_NONE) return []
  const time = new Date(timeFromTid(packed)).toISOString()
  return [
    `${source.name} was packed up to transaction ${formatTid(packed)} (${time}): from it on the history is whole, before it only states that the pack kept were imported`,
  ]
}

function missingReport(source: Store, { missing: { count: times, examples } }: ImportResult): string[] {
  const [first] = examples
  if (first === undefined) return []
  const shown = examples.map(({ oid, at }) => `  object ${formatOid(oid)} at ${formatTid(at)}`)
  return [
    `${source.name} refers to objects that it does not have (${count(times, 'case')}); reading them fails with EIO, as it does in ZODB, whose fsrefs lists them:`,
    ...shown,
    ...(times > examples.length ? [`  and ${times - examples.length} more`] : []),
  ]
}

async function restore(
  source: Store,
  target: WritableStore,
  into: string,
  progress: Report,
): Promise<string> {
  if (normalise(into) !== '')
    throw new CommandError(
      `${source.name} was exported by zblkfs and can only be restored whole: leave out --into, and name a new database`,
    )
  const { transactions, records } = await restoreExport({
    source,
    target,
    markPath: importMapPath(target.name),
    progress,
  })
  return [
    `restored ${count(transactions, 'transaction')}; compared ${count(records, 'record')}: all are the same`,
    await retentionReport(target),
  ].join('\n')
}

/** A path in the database: one character per byte, without slashes around it. */
function normalise(path: string): string {
  const names = Buffer.from(path, 'utf8')
    .toString('latin1')
    .split('/')
    .filter(name => name !== '' && name !== '.')
  if (names.includes('..')) throw new CommandError(`--into ${path}: '..' has no meaning here`)
  return names.join('/')
}
