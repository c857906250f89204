/**
 * Backs up a database as streams in a directory. The first backup has everything that is kept, each later one what has changed since.
 *
 * A file is written as `partial`, synced, read again and verified, and then renamed: a file with the name of a stream is complete. Long
 * histories become several files, so that an interrupted backup continues after the last one. If the source no longer has the last
 * transaction of the directory, as a pack has dropped it, a stream of everything begins a new row of files. A lock file excludes other backups into
 * the directory.
 */
import { createReadStream } from '../../store/os-files.ts'
import { open } from '../../store/os-files-async.ts'
import { join } from 'node:path'
import type { KeyCopy } from '../../store/encryption.ts'
import { StoreError } from '../../store/errors.ts'
import { formatTid, TID_NONE, type Tid } from '../../store/ids.ts'
import { ALL_MOMENTS } from '../../store/kept-moments.ts'
import { OpenedStream } from '../../store/sealed-stream.ts'
import type { Store } from '../../store/store.ts'
import {
  assertComplete,
  filesOf,
  lockDirectory,
  makeDirectory,
  publish,
  writePartial,
} from './backup-directory.ts'
import { lastRow, streamName, type StreamFile } from './directory.ts'
import { readHeader, readItems, type StreamEnd } from './decode.ts'
import { fingerprintOf, type StreamHeader } from './format.ts'
import { FrameReader } from './frames.ts'
import { sendHistory, transactionUpTo } from './send.ts'

/** Records of a file, in bytes; a file ends with a transaction. */
const FILE_BYTES = 1 << 30

export interface BackupOptions {
  /** Begins with everything again. */
  readonly full?: boolean
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (phase: 'write' | 'verify', done: number, total: number) => void
  /** Records of a file, in bytes. */
  readonly fileBytes?: number
}

export interface BackupResult {
  /** The paths of new files. */
  readonly files: readonly string[]
  readonly transactions: number
  readonly bytes: number
  /** The last transaction of the backup. */
  readonly upTo: Tid
  /** Whether the new files have everything, and why; undefined if they continue earlier ones. */
  readonly full?: 'first' | 'asked' | 'dropped'
}

/** What a file has, after all of it was verified. */
export interface VerifiedStream {
  readonly header: StreamHeader
  readonly end: StreamEnd
  readonly bytes: number
}

/** @throws StoreError if the directory has the backup of another database, or files are missing; the signal's reason. */
export async function backUp(
  source: Store,
  directory: string,
  options: BackupOptions = {},
): Promise<BackupResult> {
  await makeDirectory(directory)
  const unlock = await lockDirectory(directory)
  try {
    const { base, number, full } = await startOf(source, directory, options)
    const files: string[] = []
    let [from, transactions, bytes] = [base, 0, 0]
    for (const to of await partsOf(source, base, options.fileBytes ?? FILE_BYTES)) {
      const name = streamName('stream', number + files.length, formatTid(from), formatTid(to))
      const written = await writeStream(source, { from, to }, { directory, name, options })
      files.push(join(directory, name))
      transactions += written.end.transactions
      bytes += written.bytes
      from = to
    }
    return { files, transactions, bytes, upTo: from, ...(full !== undefined && { full }) }
  } finally {
    await unlock()
  }
}

/** Reads a stream to its end. @param keys those of the source, if it is encrypted. @throws StoreError if it is damaged. */
export async function verifyStream(
  path: string,
  keys?: KeyCopy,
  onRead: (bytes: number) => void = () => undefined,
): Promise<VerifiedStream> {
  let bytes = 0
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
      bytes += chunk.length
      onRead(chunk.length)
      yield chunk
    }
  }
  const frames = new FrameReader(new OpenedStream(counted(), undefined, keys))
  try {
    if (!(await frames.begin())) throw new StoreError('the stream ends early', { code: 'cut-stream' })
    const header = await readHeader(frames)
    for await (const item of readItems(frames, header))
      if (item.kind === 'stream end') return { header, end: item.end, bytes }
    throw new TypeError('a stream without an end')
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    throw new StoreError(`${path}: ${error.message}`, { code: error.code, path, cause: error })
  } finally {
    await frames.close()
  }
}

interface Start {
  readonly base: Tid
  readonly number: number
  readonly full?: 'first' | 'asked' | 'dropped'
}

/** Where a backup begins. @throws StoreError */
async function startOf(source: Store, directory: string, { full = false }: BackupOptions): Promise<Start> {
  const files = await filesOf(directory, 'stream')
  if (!full) assertComplete(directory, lastRow(files))
  const last = files.at(-1)
  if (last === undefined) return { base: TID_NONE, number: 1, full: 'first' }
  const number = last.number + 1
  const keys = await source.capabilities.encrypting?.copy()
  const { origin } = await headerOf(last, keys)
  if (origin !== (await source.capabilities.lineage?.origin()))
    throw new StoreError(`${directory} has the backup of another database`, { code: 'other-backup' })
  if (full) return { base: TID_NONE, number, full: 'asked' }
  const found = await transactionUpTo(source, last.to)
  if (found?.tid === last.to && fingerprintOf(found) === (await fingerprintIn(last, keys)))
    return { base: last.to, number }
  return { base: TID_NONE, number, full: 'dropped' }
}

async function headerOf({ path }: StreamFile, keys: KeyCopy | undefined): Promise<StreamHeader> {
  const input = createReadStream(path) as AsyncIterable<Buffer>
  const frames = new FrameReader(new OpenedStream(input, undefined, keys))
  try {
    if (!(await frames.begin())) throw new StoreError(`${path} is empty`, { code: 'cut-stream' })
    return await readHeader(frames)
  } finally {
    await frames.close()
  }
}

/** The fingerprint in the last frame of a stream, which was verified when it was written. */
async function fingerprintIn({ path }: StreamFile, keys: KeyCopy | undefined): Promise<bigint> {
  if (keys !== undefined) return (await verifyStream(path, keys)).end.fingerprint
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const { buffer, bytesRead } = await file.read(Buffer.alloc(16), 0, 16, Math.max(0, size - 16))
    return bytesRead === 16 ? buffer.readBigUInt64LE(0) : 0n
  } finally {
    await file.close()
  }
}

/** The last transactions of the files to write; only kept moments. @throws StoreError if the source is empty. */
async function partsOf(source: Store, base: Tid, fileBytes: number): Promise<readonly Tid[]> {
  const reader = source.capabilities.measuring?.reader()
  try {
    const { from } = (await reader?.kept()) ?? ALL_MOMENTS
    const upTo = await source.lastTid()
    const parts: Tid[] = []
    let bytes = 0
    for await (const info of source.transactions({ after: base, upTo })) {
      bytes += info.bytes
      if (bytes < fileBytes || info.tid < from || info.tid === upTo) continue
      parts.push(info.tid)
      bytes = 0
    }
    return base === upTo && base !== TID_NONE ? parts : [...parts, upTo]
  } finally {
    reader?.close()
  }
}

interface Place {
  readonly directory: string
  readonly name: string
  readonly options: BackupOptions
}

async function writeStream(
  source: Store,
  { from, to }: { readonly from: Tid; readonly to: Tid },
  { directory, name, options: { signal, onProgress } }: Place,
): Promise<VerifiedStream> {
  const range = { to, ...(from !== TID_NONE && { from }) }
  const stream = sendHistory(source, range, {
    signal,
    onProgress: (done, total) => onProgress?.('write', done, total),
  })
  const { partial, length } = await writePartial(directory, stream)
  let done = 0
  const keys = await source.capabilities.encrypting?.copy()
  const verified = await verifyStream(partial, keys, bytes => onProgress?.('verify', (done += bytes), length))
  await publish(directory, name)
  return verified
}
