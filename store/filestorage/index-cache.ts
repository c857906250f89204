/**
 * The cache of FileStorages' position indexes: files in the user's cache directory, each named for
 * the path and the identity (device, inode, birth) of the FileStorage.
 *
 * - A cached index is used if samples spread over the file agree with it; otherwise it is rebuilt. ZODB's own
 *   `Data.fs.index` is not used: it has only the newest records, and cannot be verified.
 * - Packing replaces the file, which changes its identity and so needs a new index; the indexes of files that the
 *   path led to before are removed.
 * - If the directory cannot be written or the cache cannot be used, the index is a temporary file: this costs only
 *   time.
 */
import { messageOf } from '../errors.ts'
import { createHash } from 'node:crypto'
import { type BigIntStats } from 'node:fs'
import { readdirSync, rmSync } from '../os-files.ts'
import { homedir } from 'node:os'
import { basename, join } from 'node:path'
import { makeDirectories } from '../make-directories.ts'
import { decodeTransactionHeader, POINTER_LENGTH, readPosition, TRANSACTION_HEADER_LENGTH } from './format.ts'
import { bytesOf } from '../os-text.ts'
import { isBusy, PositionIndex, type IndexedTransaction } from './position-index.ts'
import type { ScannedFile } from './scan.ts'

/** Number of transactions of a cached index that are compared with the file. */
const SAMPLES = 64

/** `$XDG_CACHE_HOME/zblkfs/filestorage`; `~/.cache` if the variable is not set. */
export function defaultCacheDirectory(): string {
  const base = process.env['XDG_CACHE_HOME']
  return join(
    base !== undefined && base.startsWith('/') ? base : join(homedir(), '.cache'),
    'zblkfs',
    'filestorage',
  )
}

/**
 * Opens the index of a file, which may not cover all of it yet.
 * @param realPath The file's path without symbolic links.
 * @param warn receives a message if the cache cannot be used.
 */
export function openIndex(
  file: ScannedFile,
  realPath: string,
  stats: BigIntStats,
  directory: string,
  warn: (message: string) => void,
): PositionIndex {
  const identity = `${realPath} ${stats.dev}:${stats.ino}:${stats.birthtimeNs}`
  const path = join(directory, `${digest(realPath)}-${digest(identity)}.sqlite`)
  try {
    makeDirectories(directory)
    removeOthers(directory, path)
    return openVerified(file, path, identity)
  } catch (error) {
    warn(
      `the index of ${file.path} cannot be kept in ${path} (${messageOf(error)}): ` +
        'a temporary file is used instead, and is rebuilt each time',
    )
    return new PositionIndex('', identity)
  }
}

/** Opens the cached index; rebuilds it if it does not agree with the file. */
function openVerified(file: ScannedFile, path: string, identity: string): PositionIndex {
  try {
    const index = new PositionIndex(path, identity)
    if (agrees(file, index)) return index
    index.close()
  } catch (error) {
    // Unreadable or of another version: remove it, unless another process is just creating it.
    if (isBusy(error)) throw error
  }
  removeIndex(path)
  return new PositionIndex(path, identity)
}

function agrees(file: ScannedFile, index: PositionIndex): boolean {
  const { seq: last } = index.last
  const step = Math.max(1, Math.floor(last / SAMPLES))
  for (let seq = last; seq > 0; seq -= step) {
    const [row] = index.transactions(seq - 1, seq, false, 1)
    if (row === undefined || !standsIn(file, row)) return false
  }
  return index.end <= file.size
}

/** Whether the file has the transaction at the indexed position. */
export function standsIn(file: ScannedFile, { tid, pos, length }: IndexedTransaction): boolean {
  const head = file.window.peek(pos, TRANSACTION_HEADER_LENGTH)
  const end = file.window.peek(pos + length, POINTER_LENGTH)
  if (head === undefined || end === undefined || readPosition(end, 0) !== length) return false
  const header = decodeTransactionHeader(head, 0, pos)
  return header.tid === tid && header.length === length && (header.status === ' ' || header.status === 'p')
}

/** Removes the indexes of files that the same path led to before. */
function removeOthers(directory: string, path: string): void {
  const keep = basename(path)
  const family = keep.slice(0, keep.indexOf('-') + 1)
  for (const name of readdirSync(directory))
    if (name.startsWith(family) && name.endsWith('.sqlite') && name !== keep)
      removeIndex(join(directory, name))
}

function removeIndex(path: string): void {
  for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
}

function digest(text: string): string {
  return createHash('sha256').update(bytesOf(text)).digest('hex').slice(0, 20)
}
