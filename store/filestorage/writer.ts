/**
 * Writes a FileStorage that ZODB can open: appends transactions exactly as ZODB would write them.
 *
 * A transaction starts with status 'c' and gets its length and status ' ' once all of it is in the file, so that every
 * reader skips one that was cut short. Only {@link FileStorageWriter.close} waits for the disk: discard a file whose
 * writer was not closed.
 *
 * The positions of earlier records, needed for `prev`, are in a position index on disk, not in memory.
 */
import { bytesOf } from '../os-text.ts'
import { closeSync, constants, fstatSync, ftruncateSync, writeSync } from 'node:fs'
import { realpathSync, statSync } from '../os-files.ts'
import { type FileHandle } from 'node:fs/promises'
import { open } from '../os-files-async.ts'
import { dirname } from 'node:path'
import { CannotOpenError, messageOf, StoreError, systemCode } from '../errors.ts'
import { formatOid, formatTid, type Tid } from '../ids.ts'
import { openSideFile } from '../side-files.ts'
import { tryLock } from '../flock.ts'
import { extendIndex } from './extend-index.ts'
import {
  encodeRecordHeader,
  encodeTransactionHeader,
  MAGIC,
  POINTER_LENGTH,
  preambleLength,
} from './format.ts'
import { defaultCacheDirectory, openIndex } from './index-cache.ts'
import { PositionIndex, type RecordPosition } from './position-index.ts'
import { checkMagic } from './scan.ts'
import type { TransactionToWrite, TransactionWriter } from '../store.ts'
import { readFully, Window } from './window.ts'

/** Bytes buffered before they are written. */
const BUFFER_BYTES = 1024 * 1024
/** Positions buffered before they are indexed. */
const BATCH_RECORDS = 1 << 14
/** The longest user, description and extension: their lengths take two bytes. */
const MAX_TEXT_BYTES = 0xffff
/** Maximum length read of ZODB's lock file: a process id. */
const MAX_LOCK_BYTES = 64
/** The permissions of a new lock file, less the process's umask. */
const LOCK_MODE = 0o666

export class FileStorageWriter implements TransactionWriter {
  readonly #path: string
  readonly #file: FileHandle
  readonly #index: PositionIndex
  readonly #lock: number | undefined
  #pending: Uint8Array[] = []
  #pendingBytes = 0
  /** The position of the buffered bytes. */
  #pos: number

  /** @param lock the descriptor of its lock. A new file has none. */
  private constructor(path: string, file: FileHandle, index: PositionIndex, pos: number, lock?: number) {
    this.#path = path
    this.#lock = lock
    this.#file = file
    this.#index = index
    this.#pos = pos
  }

  /**
   * Creates a file.
   * @param mode its permissions, less the process's umask.
   * @throws CannotOpenError if the path exists, even as a dangling link.
   */
  static async create(path: string, mode = 0o600): Promise<FileStorageWriter> {
    const file = await openHandle(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, mode)
    const writer = new FileStorageWriter(path, file, new PositionIndex('', path), 0)
    await writer.#write(Buffer.from(MAGIC, 'latin1'))
    await writer.#flush()
    return writer
  }

  /**
   * Opens a FileStorage to append to it. No other process may be writing it. Removes a torn tail.
   * @throws CannotOpenError as `openFileStorage`, and if another process has ZODB's lock.
   */
  static async reopen(path: string, cacheDirectory = defaultCacheDirectory()): Promise<FileStorageWriter> {
    const file = await openHandle(path, constants.O_RDWR | constants.O_NONBLOCK)
    let lock: number | undefined
    let index: PositionIndex | undefined
    try {
      const stats = fstatSync(file.fd, { bigint: true })
      if (!stats.isFile()) throw new CannotOpenError(`${path} is not a regular file`)
      checkMagic({ path, fd: file.fd, window: new Window(file.fd), size: Number(stats.size) })
      // Before the end is looked for: what another process is appending would be removed as a torn tail.
      lock = takeLock(path)
      const locked = fstatSync(file.fd, { bigint: true })
      const named = statSync(path, { bigint: true })
      if (named.dev !== locked.dev || named.ino !== locked.ino)
        throw new CannotOpenError(`${path} was replaced by another program: try again`)
      const scanned = { path, fd: file.fd, window: new Window(file.fd), size: Number(locked.size) }
      index = openIndex(scanned, realpathSync(path), locked, cacheDirectory, () => {})
      const tail = await extendIndex(scanned, index)
      const end = tail?.pos ?? scanned.size
      await file.truncate(end)
      return new FileStorageWriter(path, file, index, end, lock)
    } catch (error) {
      index?.close()
      if (lock !== undefined) closeSync(lock)
      await file.close()
      throw error
    }
  }

  /** The last transaction's tid; TID_NONE if there is none. */
  get lastTid(): Tid {
    return this.#index.last.tid
  }

  /** Appends a transaction. If this fails, the file is unchanged. @throws StoreError */
  async append(transaction: TransactionToWrite): Promise<void> {
    if (transaction.tid <= this.lastTid)
      throw new StoreError(
        `transaction ${formatTid(transaction.tid)} cannot be appended to ${this.#path}, whose last transaction is ${formatTid(this.lastTid)}`,
      )
    const start = this.#pos
    if (!this.#index.begin())
      throw new StoreError(`${this.#path} is being indexed by another process: try again later`)
    try {
      await this.#append(transaction, start)
      this.#index.commit()
    } catch (error) {
      this.#index.rollback()
      this.#pending = []
      this.#pendingBytes = 0
      this.#pos = start
      await this.#file.truncate(start)
      throw error
    }
  }

  /** Waits until everything is on disk, and closes the file. */
  async close(): Promise<void> {
    try {
      await this.#file.sync()
    } finally {
      this.#index.close()
      await this.#file.close()
      if (this.#lock !== undefined) {
        ftruncateSync(this.#lock)
        closeSync(this.#lock)
      }
    }
    const directory = await open(dirname(this.#path))
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  }

  async #append({ tid, records, ...texts }: TransactionToWrite, start: number): Promise<void> {
    const user = this.#text('user', bytesOf(texts.user))
    const description = this.#text('description', bytesOf(texts.description))
    const extension = this.#text('extension', texts.extension)
    const header = {
      pos: start,
      tid,
      length: 0,
      status: 'c',
      userLength: user.length,
      descriptionLength: description.length,
      extensionLength: extension.length,
    }
    await this.#write(encodeTransactionHeader(header), user, description, extension)
    const counts = await this.#appendRecords(tid, start, start + preambleLength(header), records)
    const length = counts.end - start
    const second = Buffer.alloc(POINTER_LENGTH)
    second.writeBigUInt64BE(BigInt(length))
    await this.#write(second)
    await this.#flush()
    await writeFully(this.#file, encodeTransactionHeader({ ...header, length, status: ' ' }), start)
    this.#index.addTransaction({ seq: this.#index.last.seq + 1, tid, pos: start, length, ...counts })
  }

  async #appendRecords(tid: Tid, transaction: number, start: number, records: TransactionToWrite['records']) {
    const { seq } = this.#index.last
    let batch: RecordPosition[] = []
    let pos = start
    let objects = 0
    let bytes = 0
    for await (const { oid, record } of records) {
      if (record?.length === 0)
        throw new StoreError(
          `object ${formatOid(oid)} has an empty record, which a FileStorage cannot represent`,
        )
      const length = record?.length ?? 0
      const previous = this.#index.find([oid], seq).get(oid)?.pos ?? 0
      const header = encodeRecordHeader({ pos, oid, tid, previous, transaction, versionLength: 0, length })
      const data = record ?? Buffer.alloc(POINTER_LENGTH)
      await this.#write(header, data)
      batch.push({ oid, pos, length })
      if (batch.length === BATCH_RECORDS) {
        this.#index.addRecords(seq + 1, batch)
        batch = []
      }
      pos += header.length + data.length
      objects++
      bytes += length
    }
    this.#index.addRecords(seq + 1, batch)
    return { end: pos, objects, bytes }
  }

  #text(what: string, bytes: Uint8Array): Uint8Array {
    if (bytes.length > MAX_TEXT_BYTES)
      throw new StoreError(
        `a ${what} of ${bytes.length} bytes does not fit into a FileStorage, whose limit is ${MAX_TEXT_BYTES}`,
      )
    return bytes
  }

  async #write(...pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      this.#pending.push(piece)
      this.#pendingBytes += piece.length
    }
    if (this.#pendingBytes >= BUFFER_BYTES) await this.#flush()
  }

  async #flush(): Promise<void> {
    await writeFully(this.#file, Buffer.concat(this.#pending, this.#pendingBytes), this.#pos)
    this.#pos += this.#pendingBytes
    this.#pending = []
    this.#pendingBytes = 0
  }
}

async function openHandle(path: string, flags: number, mode?: number): Promise<FileHandle> {
  try {
    return await open(path, flags, mode)
  } catch (error) {
    const exists = systemCode(error) === 'EEXIST'
    throw new CannotOpenError(
      exists ? `${path} exists already: name a new file` : `${path} cannot be written: ${String(error)}`,
      { cause: error },
    )
  }
}

/**
 * Takes the lock that ZODB takes of a file it writes: flock(2) of `Data.fs.lock`, which has the process id of the last holder and stays
 * when it ends. The id counts too: the locks of a network filesystem may not reach other machines.
 * @returns the descriptor that has the lock until it is closed.
 * @throws CannotOpenError if another process has it.
 */
function takeLock(path: string): number {
  let fd: number
  try {
    fd = openSideFile(`${path}.lock`, constants.O_RDWR | constants.O_CREAT, LOCK_MODE)
  } catch (error) {
    throw new CannotOpenError(`${path} cannot be locked: ${messageOf(error)}`, { cause: error })
  }
  try {
    const bytes = Buffer.alloc(MAX_LOCK_BYTES)
    const holder = Number.parseInt(bytes.toString('latin1', 0, readFully(fd, bytes, 0)).trim(), 10)
    if (!tryLock(fd) || (holder > 0 && holder !== process.pid && isAlive(holder)))
      throw new CannotOpenError(
        `${path} is in use by ${holder > 0 ? `process ${holder}` : 'another process'}: end it first (or remove ${path}.lock, if that process does not use it)`,
      )
    ftruncateSync(fd)
    writeSync(fd, ` ${process.pid}\n`, 0)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array, pos: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, pos + done)
    done += bytesWritten
  }
}
