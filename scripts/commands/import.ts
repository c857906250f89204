/** `zblkfs import SRC DB`: the big files of a ZODB database, as files of ours. */
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { CannotOpenError, ObjectNotFoundError } from '../../store/errors.ts'
import { formatTid, TID_NONE } from '../../store/ids.ts'
import { recognise } from '../../store/recognise.ts'
import { openDatabase, openForeignDatabase } from '../../store/open-store.ts'
import type { Store, WritableStore } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { formatBytes } from '../units.ts'
import { count } from '../foreign/count.ts'
import { databasePath } from '../foreign/database-path.ts'
import { importDatabase } from '../../core/foreign/import/import-database.ts'
import { isExport, restoreExport } from '../../core/foreign/import/restore-export.ts'
import { ByteProgress } from '../foreign/progress.ts'

interface Options {
  readonly into: string
  readonly history?: boolean
}

export function importCommand(): Command {
  return new Command('import')
    .description("Copy the big files of a ZODB database into one of zblkfs's.")
    .argument('<src>', "Data.fs, or RelStorage's main.sqlite3")
    .argument('<db>', 'the database; made if it does not exist')
    .option('--into <path>', 'the directory in the database that they are put in', '/')
    .option('--history', 'with all transactions and their ids, not just the last state')
    .addHelpText(
      'after',
      '\nWhat zblkfs export has written is restored as it was, into a new database.' +
        '\nElse files get the names that the root mapping leads to; those without one are in bigfile/, named by their oids.' +
        '\nAn import that was interrupted goes on where it was when it is repeated.',
    )
    .action(importFiles)
}

async function importFiles(src: string, db: string, { into, history = false }: Options): Promise<void> {
  const path = resolve(db)
  const kind = await recognise(path)
  if (kind !== 'sqlite' && kind !== 'none')
    throw new CannotOpenError(`${db} is a ZODB database: name one of zblkfs's own, or a new file`)
  const source = await openForeignDatabase(databasePath(src), {
    warn: message => console.error(`zblkfs: ${message}`),
  })
  const progress = new ByteProgress()
  try {
    const { size } = await stat(source.name)
    if ((await source.lastTid()) === TID_NONE)
      throw new CommandError(`${source.name} has no whole transaction: there is nothing to import`)
    const target = await openDatabase(path, { create: true, purpose: `an import from ${source.name}` })
    try {
      const report = (phase: 'copy' | 'compare', bytes: number): void =>
        progress.add(phase === 'copy' ? 'copying' : 'comparing', bytes, size)
      const message = (await isExport(source))
        ? await restore(source, target, into, report)
        : await copy(source, target, { into, history }, report)
      progress.stop()
      console.log(message)
    } finally {
      await target.close()
    }
  } catch (error) {
    if (error instanceof ObjectNotFoundError && history)
      throw new CommandError(
        `${src} does not have all of its history (${error.message}): import without --history`,
        { cause: error },
      )
    throw error
  } finally {
    progress.stop()
    await source.close()
  }
}

type Report = (phase: 'copy' | 'compare', bytes: number) => void

async function copy(
  source: Store,
  target: WritableStore,
  options: Options,
  progress: Report,
): Promise<string> {
  const { files, transactions, comparedBytes, upTo } = await importDatabase({
    source,
    target,
    mapPath: `${target.name}.import`,
    into: normalise(options.into),
    history: options.history ?? false,
    progress,
  })
  const newest = await source.lastTid()
  return [
    `imported ${count(files, 'file')} in ${count(transactions, 'transaction')}; compared ${formatBytes(comparedBytes)} of blocks: all are the same`,
    ...(files === 0 ? ['there is no ZBigFile in it'] : []),
    ...(newest > upTo
      ? [
          `it is as of transaction ${formatTid(upTo)}; ${source.name} has gone on to ${formatTid(newest)} since`,
        ]
      : []),
  ].join('\n')
}

async function restore(
  source: Store,
  target: WritableStore,
  into: string,
  progress: Report,
): Promise<string> {
  if (normalise(into) !== '')
    throw new CommandError(
      `${source.name} was exported by zblkfs and can only be restored as a whole: leave out --into, and name a new database`,
    )
  const { transactions, records } = await restoreExport({ source, target, progress })
  return `restored ${count(transactions, 'transaction')}; compared ${count(records, 'record')}: all are the same`
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
