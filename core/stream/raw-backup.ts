/**
 * Backs up an encrypted database as raw streams in a directory, without its key: everything at first, then what has changed. As in
 * backup.ts, a file with the name of a stream is complete and was verified.
 */
import { join } from 'node:path'
import { StoreError } from '../../store/errors.ts'
import { formatTid } from '../../store/ids.ts'
import type { RawPoint, RawSending, RawState } from '../../store/raw-stream.ts'
import type { BackupOptions, BackupResult } from './backup.ts'
import {
  assertComplete,
  filesOf,
  lockDirectory,
  makeDirectory,
  publish,
  writePartial,
} from './backup-directory.ts'
import { lastRow, streamName } from './directory.ts'
import { type Ends, endsOfRawStream, rawStream, verifyRawStream } from './raw.ts'

interface Start {
  readonly number: number
  /** The file to continue; undefined if everything is backed up. */
  readonly last?: Ends
  readonly full?: BackupResult['full']
}

/** @throws StoreError as {@link backUp} of backup.ts. */
export async function backUpRaw(
  source: RawSending,
  directory: string,
  options: BackupOptions = {},
): Promise<BackupResult> {
  await makeDirectory(directory)
  const unlock = await lockDirectory(directory)
  try {
    const state = await source.state()
    const { number, last, full } = await startOf(source, state, directory, options)
    const after = last?.end
    // New keys are in no transaction.
    if (after !== undefined && isSamePoint(after.last, state.last) && last?.header.keys === state.keys)
      return { files: [], transactions: 0, bytes: 0, upTo: state.last.tid }
    const { signal, onProgress } = options
    const stream = rawStream(source.parts(after?.last, after?.dropped), (done, total) => {
      signal?.throwIfAborted()
      onProgress?.('write', done, total)
    })
    const { partial, length } = await writePartial(directory, stream)
    let done = 0
    const { header, end, bytes } = await verifyRawStream(partial, read =>
      onProgress?.('verify', (done += read), length),
    )
    const name = streamName('raw', number, formatTid(header.base.tid), formatTid(end.last.tid))
    await publish(directory, name)
    const { transactions } = end
    return {
      files: [join(directory, name)],
      transactions,
      bytes,
      upTo: end.last.tid,
      ...(full !== undefined && { full }),
    }
  } finally {
    await unlock()
  }
}

const isSamePoint = (a: RawPoint, b: RawPoint): boolean => a.tid === b.tid && a.sum === b.sum

/** Where a backup begins. @throws StoreError */
async function startOf(
  source: RawSending,
  { databaseId }: RawState,
  directory: string,
  { full = false }: BackupOptions,
): Promise<Start> {
  const files = await filesOf(directory, 'raw')
  if (!full) assertComplete(directory, lastRow(files))
  const file = files.at(-1)
  if (file === undefined) return { number: 1, full: 'first' }
  const number = file.number + 1
  const last = await endsOfRawStream(file.path)
  if (last.header.databaseId !== databaseId)
    throw new StoreError(`${directory} has the backup of another database`, { code: 'other-backup' })
  if (full) return { number, full: 'asked' }
  const found = await source.pointAt(last.end.last.tid)
  const isThere = found !== undefined && isSamePoint(found, last.end.last)
  return isThere ? { number, last } : { number, full: 'dropped' }
}
