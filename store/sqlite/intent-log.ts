/**
 * A write-ahead log for bytes that must be durable before their transaction: `DATABASE-log/intents`, a file of fixed
 * length that is written from its beginning after each transaction. Overwriting allocated bytes is the cheapest durable
 * write: one write and one sync, without a change of the file's length or blocks.
 *
 * | in an entry | length | is                                                                                |
 * |-------------|--------|-----------------------------------------------------------------------------------|
 * | 0           | 8      | XXH64 of everything after it, bytes included                                      |
 * | 8           | 8      | the transaction that it follows, little-endian like all numbers                   |
 * | 16          | 8      | a random number, the same for all entries that follow the transaction             |
 * | 24          | 4      | its number among these, from 0                                                    |
 * | 28          | 4      | the number of its bytes                                                           |
 * | 32          | 16     | the database's id                                                                 |
 * | 48          |        | its bytes                                                                         |
 *
 * Each entry begins at a page boundary, so that no entry is rewritten with a shared page. Entries are valid as long as
 * the transaction that they follow is the last one: the next transaction voids all of them without touching them.
 */
import { randomBytes } from 'node:crypto'
import { closeSync, fstatSync, openSync, readSync, write, writeSync } from 'node:fs'
import { constants, open, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { StoreError } from '../errors.ts'
import { formatTid, type Tid } from '../ids.ts'
import type { FoundIntents, Intents } from '../capabilities.ts'
import { xxh64 } from '../checksum.ts'
import { giveTo, heldPath, isMissing, O_PATH, openSideFile } from '../segment-files/held-path.ts'
import { makeLogDirectory } from '../segment-files/log-directory.ts'
import { INTENTS_NAME, intentsPath, logDirectory } from './log.ts'
import { roomBeforeReserve } from './reserve.ts'
import type { DatabasePlace } from './open/database-place.ts'

/** Fits 1024 writes of a page, whose entries take two pages each. When it is full, an fsync waits for the next transaction. */
export const INTENTS_BYTES = 8 << 20

/** The file is created only if the disk has this much free space: on a full disk the changes themselves need it. */
const FILL_ROOM_BYTES = 8 * INTENTS_BYTES

const PAGE_BYTES = 4096
const SIDE_FILES_CHECK_MS = 1000

/** If the last write took less than this, the next one is synchronous: blocking is cheaper than a thread-pool round trip. */
const QUICK_MS = 1
const BASE_OFFSET = 8
const NONCE_OFFSET = 16
const INDEX_OFFSET = 24
const LENGTH_OFFSET = 28
const ID_OFFSET = 32
const HEADER_BYTES = 48

interface FoundEntry {
  readonly nonce: bigint
  readonly index: number
  readonly bytes: Uint8Array
  /** The start of the next entry. */
  readonly end: number
}

export class IntentLog implements Intents {
  readonly #place: DatabasePlace
  readonly #id: string
  readonly #lastTid: () => Tid
  /** The WAL, whose transactions the entries follow. */
  readonly #wal: number
  #file: FileHandle | undefined
  /** The transaction that the next entry follows. */
  #base: Tid | undefined
  #nonce = 0n
  #index = 0
  #end = 0
  #isAdding = false
  /** Of the entry that is being added. */
  #memory = Buffer.alloc(0)
  /** Duration of the last write. */
  #tookMs = Infinity
  #sideFilesCheckedMs = -Infinity

  /** @param id the database's id. @param lastTid returns the last transaction. */
  constructor(place: DatabasePlace, id: string, lastTid: () => Tid) {
    this.#place = place
    this.#wal = openSync(`${place.held}-wal`, O_PATH | constants.O_NOFOLLOW)
    this.#id = id
    this.#lastTid = lastTid
  }

  // oxlint-disable-next-line require-await -- errors must reject, not throw
  async read(): Promise<FoundIntents> {
    return readIntents(this.#place.held, this.#id, this.#lastTid())
  }

  async add(bytes: Uint8Array): Promise<boolean> {
    if (this.#isAdding) throw new StoreError('an entry of the intent log is being added already')
    this.#isAdding = true
    try {
      return await this.#add(bytes)
    } finally {
      this.#isAdding = false
    }
  }

  /** No call of {@link add} may be in progress. */
  async close(): Promise<void> {
    closeSync(this.#wal)
    await this.#file?.close()
    this.#file = undefined
  }

  async #add(bytes: Uint8Array): Promise<boolean> {
    const base = this.#lastTid()
    if (base !== this.#base) {
      this.#base = base
      this.#nonce = randomBytes(8).readBigUInt64LE()
      this.#index = 0
      this.#end = 0
    }
    const length = HEADER_BYTES + bytes.length
    if (this.#end + length > INTENTS_BYTES) return false
    try {
      this.#file ??= await openOrMake(this.#place)
      this.#assertThere(this.#file)
      const bytesWritten = await this.#write(this.#file, this.#encode(base, bytes))
      if (bytesWritten < length) throw new Error('the disk accepted only part of it')
    } catch {
      // A full or broken disk: the next transaction will report it. No entry may follow this partial one.
      this.#end = INTENTS_BYTES
      return false
    }
    this.#index++
    this.#end += Math.ceil(length / PAGE_BYTES) * PAGE_BYTES
    return true
  }

  /**
   * Bytes in a file that was removed, or next to a database that was, can never be read again. The database is checked for
   * each entry, the side files once per {@link SIDE_FILES_CHECK_MS}: fstat of a file makes the kernel record a new time with
   * its next write, which adds 40 us to a synced one.
   */
  #assertThere({ fd }: FileHandle): void {
    const nowMs = performance.now()
    const isDue = nowMs - this.#sideFilesCheckedMs >= SIDE_FILES_CHECK_MS
    if (isDue) this.#sideFilesCheckedMs = nowMs
    for (const file of isDue ? [this.#place.fd, this.#wal, fd] : [this.#place.fd])
      if (fstatSync(file).nlink === 0) throw new Error('it was removed')
  }

  /** Waits for a fast disk: that takes less time than two thread switches. */
  async #write({ fd }: FileHandle, entry: Buffer): Promise<number> {
    const startMs = performance.now()
    const written =
      this.#tookMs < QUICK_MS
        ? writeSync(fd, entry, 0, entry.length, this.#end)
        : await writeInPool(fd, entry, this.#end)
    this.#tookMs = performance.now() - startMs
    return written
  }

  #encode(base: Tid, bytes: Uint8Array): Buffer {
    const length = HEADER_BYTES + bytes.length
    // One entry is added at a time.
    if (this.#memory.length < length)
      this.#memory = Buffer.allocUnsafeSlow(Math.ceil(length / PAGE_BYTES) * PAGE_BYTES)
    const entry = this.#memory.subarray(0, length)
    entry.writeBigUInt64LE(base, BASE_OFFSET)
    entry.writeBigUInt64LE(this.#nonce, NONCE_OFFSET)
    entry.writeUInt32LE(this.#index, INDEX_OFFSET)
    entry.writeUInt32LE(bytes.length, LENGTH_OFFSET)
    entry.write(this.#id, ID_OFFSET, 'hex')
    entry.set(bytes, HEADER_BYTES)
    entry.writeBigUInt64LE(xxh64(entry.subarray(BASE_OFFSET)))
    return entry
  }
}

/** Reads the entries that follow transaction `base`, in order, up to one that is damaged or incomplete. */
export function readIntents(database: string, id: string, base: Tid): FoundIntents {
  const file = readWhole(intentsPath(database))
  const found: FoundEntry[] = []
  let end = 0
  for (;;) {
    const entry = entryAt(file, end, id, base)
    if (entry === undefined || entry.index !== found.length || entry.nonce !== (found[0] ?? entry).nonce)
      break
    found.push(entry)
    ;({ end } = entry)
  }
  return { entries: found.map(({ bytes }) => bytes), isDamaged: isFollowed(file, end, id, base, found) }
}

/** Whether there is an entry after those that could be read: of the same run, or of a run whose first entry is missing. */
function isFollowed(file: Buffer, end: number, id: string, base: Tid, found: readonly FoundEntry[]): boolean {
  for (let at = end; at < file.length; at += PAGE_BYTES) {
    const entry = entryAt(file, at, id, base)
    if (entry !== undefined && (found.length === 0 || entry.nonce === found[0]?.nonce)) return true
  }
  return false
}

function entryAt(file: Buffer, at: number, id: string, base: Tid): FoundEntry | undefined {
  const header = file.subarray(at, at + HEADER_BYTES)
  if (header.length < HEADER_BYTES || header.readBigUInt64LE(BASE_OFFSET) !== base) return undefined
  if (header.toString('hex', ID_OFFSET, HEADER_BYTES) !== id) return undefined
  const length = HEADER_BYTES + header.readUInt32LE(LENGTH_OFFSET)
  const entry = file.subarray(at, at + length)
  if (entry.length < length || xxh64(entry.subarray(BASE_OFFSET)) !== entry.readBigUInt64LE(0))
    return undefined
  return {
    nonce: entry.readBigUInt64LE(NONCE_OFFSET),
    index: entry.readUInt32LE(INDEX_OFFSET),
    bytes: entry.subarray(HEADER_BYTES),
    end: at + Math.ceil(length / PAGE_BYTES) * PAGE_BYTES,
  }
}

function readWhole(path: string): Buffer {
  let fd: number
  try {
    fd = openSideFile(path, constants.O_RDONLY)
  } catch (error) {
    if (isMissing(error)) return Buffer.alloc(0)
    throw error
  }
  try {
    const bytes = Buffer.allocUnsafeSlow(INTENTS_BYTES)
    return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0))
  } finally {
    closeSync(fd)
  }
}

/** Opens the file for synchronous writes; creates it if it is missing or incomplete. */
async function openOrMake(place: DatabasePlace): Promise<FileHandle> {
  const owner = place.stat()
  const directory = makeLogDirectory(logDirectory(place.held), owner)
  try {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC
    const file = await open(
      heldPath(directory, INTENTS_NAME),
      flags | constants.O_NOFOLLOW | constants.O_NONBLOCK,
      0o600,
    )
    try {
      const stats = await file.stat()
      if (!stats.isFile()) throw new Error('it is not a regular file')
      giveTo(file.fd, owner)
      if (stats.size !== INTENTS_BYTES && roomBeforeReserve(place.held) < FILL_ROOM_BYTES)
        throw new Error('the disk is nearly full')
      if (stats.size !== INTENTS_BYTES) await fill(file, [`/proc/self/fd/${directory}`, dirname(place.held)])
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  } finally {
    closeSync(directory)
  }
}

/** Writes real zeros: the first write to merely reserved space would change the file's metadata. */
async function fill(file: FileHandle, directories: readonly string[]): Promise<void> {
  try {
    await file.truncate(0)
    await file.writeFile(Buffer.alloc(INTENTS_BYTES))
    await file.sync()
    for (const path of directories) await syncNames(path)
  } catch (error) {
    // The transaction that replaces the entry needs this space.
    await file.truncate(0).catch(() => undefined)
    throw error
  }
}

async function syncNames(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const writeInPool = (fd: number, bytes: Buffer, position: number): Promise<number> =>
  new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, position, (error, written) => {
      if (error === null) resolve(written)
      else reject(error)
    })
  })

/** The message about entries that no mount has replayed. */
export const waitingIntents = (database: string, base: Tid, count: number): string =>
  `${database} has ${count === 1 ? 'a synced change that is' : `${count} synced changes that are`} not in a transaction yet ` +
  `(after ${formatTid(base)}): mount it for writing once; if that fails, and they are not needed, remove ${intentsPath(database)}`
