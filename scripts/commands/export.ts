/** `zblkfs export DB Data.fs`: a FileStorage that ZODB opens, with all transactions; with `--from`, more of them. */
import { absolutePath, existsSync } from '../../store/os-files.ts'
import { rename, rm, stat } from '../../store/os-files-async.ts'
import { dirname } from 'node:path'
import { Command } from 'commander'
import { CannotOpenError } from '../../store/errors.ts'
import { formatTid, parseTid, tid as tidOf, TID_NONE, type Tid } from '../../store/ids.ts'
import { canonicalName, isDatabaseUrl } from '../../store/database-name.ts'
import { recognise } from '../../store/recognise.ts'
import { appendToFileStorage, createFileStorage, openDatabase } from '../../store/open-store.ts'
import type { Store, TransactionWriter } from '../../store/store.ts'
import { CommandError, UsageError } from '../failure.ts'
import { count } from '../foreign/count.ts'
import { exportTransactions, type ExportResult } from '../../core/foreign/export-database.ts'
import { ProgressBar } from '../progress-bar.ts'
import { say, warn } from '../say.ts'

const FILE_MODE_BITS = 0o666
const OWNER_ONLY = 0o600

export function exportCommand(): Command {
  return new Command('export')
    .description('Export a database, with all transactions, to a FileStorage of ZODB.')
    .argument('<db>', 'the database; it may be mounted')
    .argument('<file>', 'the FileStorage, a new file (Data.fs)')
    .option('--from <tid>', 'append later transactions to an export that ends with this one')
    .action(exportFile)
}

async function exportFile(db: string, file: string, { from }: { readonly from?: string }): Promise<void> {
  const after = from === undefined ? undefined : parseTid(from)
  if (from !== undefined && after === undefined)
    throw new UsageError(`--from ${from}: a transaction is written as 16 hex digits`)
  const name = canonicalName(db)
  const kind = await recognise(name)
  if (kind === 'filestorage' || kind === 'relstorage')
    throw new CannotOpenError(`${db} is a ZODB database already: only a zblkfs database can be exported`)
  const source = await openDatabase(name, { readOnly: true, warn })
  const progress = new ProgressBar('bytes')
  try {
    const path = absolutePath(file)
    // A database on a server has no file mode here: its export is readable only by its owner.
    const mode = isDatabaseUrl(name) ? OWNER_ONLY : (await stat(name)).mode
    const run = async (writer: TransactionWriter, after: Tid): Promise<Exported> => {
      const size = await recordBytes(source, after)
      return await exportInto(source, writer, after, bytes => progress.add('exporting', bytes, size))
    }
    const { transactions, records, lastTid } =
      after === undefined
        ? await exportNew(path, mode & FILE_MODE_BITS, run)
        : await exportMore(path, source, after, run)
    progress.stop()
    const done = `exported ${count(transactions, 'transaction')}, ${count(records, 'record')}`
    say(`${done}; ${file} ends with transaction ${formatTid(lastTid)}`)
  } finally {
    progress.stop()
    await source.close()
  }
}

/**
 * The bytes of the records after a transaction. Shared bytes count once for each record, as an export writes them; of a part of
 * the history, what was stored is known, and its records are at least that.
 */
export async function recordBytes(source: Store, after: Tid): Promise<number> {
  const { measuring } = source.capabilities
  if (measuring === undefined) return 0
  if (after > TID_NONE) return (await measuring.added(after, await source.lastTid())).storedBytes
  const { rowBytes, bulkBytes } = (await measuring.sums()).all
  return rowBytes + bulkBytes
}

/** What was exported, and the last transaction of the file. */
type Exported = ExportResult & { readonly lastTid: Tid }

type Run = (writer: TransactionWriter, after: Tid) => Promise<Exported>

async function exportInto(
  source: Store,
  writer: TransactionWriter,
  after: Tid,
  progress: (bytes: number) => void,
): Promise<Exported> {
  const upTo = await source.lastTid()
  const result = await exportTransactions({ source, writer, after, upTo, progress, warn })
  return { ...result, lastTid: writer.lastTid }
}

/**
 * Writes `PATH.part` and renames it, so that a file of that name is a whole export.
 * @param mode the permissions of the database: the export has its bytes.
 */
async function exportNew(path: string, mode: number, run: Run): Promise<Exported> {
  if (existsSync(path))
    throw new CommandError(`${path} exists already: name a new file, or append to it with --from`)
  if (!existsSync(dirname(path)))
    throw new CommandError(`${path} cannot be written: ${dirname(path)} does not exist; create it first`)
  // An export that was killed has left it.
  const temporary = `${path}.part`
  await rm(temporary, { force: true })
  const writer = await createFileStorage(temporary, mode)
  try {
    let result: Exported
    try {
      result = await run(writer, TID_NONE)
    } finally {
      await writer.close()
    }
    await rename(temporary, path)
    return result
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

async function exportMore(path: string, source: Store, from: Tid, run: Run): Promise<Exported> {
  if (!(await hasTransaction(source, from)))
    throw new CommandError(
      `${source.name} has no transaction ${formatTid(from)}: 'zblkfs log' lists those it has`,
    )
  const writer = await appendToFileStorage(path)
  try {
    if (writer.lastTid !== from)
      throw new CommandError(
        `${path} ends with transaction ${formatTid(writer.lastTid)}, not ${formatTid(from)}: append with --from ${formatTid(writer.lastTid)}`,
      )
    return await run(writer, from)
  } finally {
    await writer.close()
  }
}

async function hasTransaction(store: Store, tid: Tid): Promise<boolean> {
  if (tid === TID_NONE) return false
  for await (const found of store.transactions({ after: tidOf(tid - 1n), upTo: tid }))
    return found.tid === tid
  return false
}
