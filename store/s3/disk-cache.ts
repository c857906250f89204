/**
 * Frames of segments on the local disk, bounded in bytes. The cache survives restarts, several processes may share it, and it
 * holds nothing that memory must remember: a key's set of slots follows from its hash.
 *
 * | file     | offset                 | is                                                                 |
 * |----------|------------------------|--------------------------------------------------------------------|
 * | `index`  | 0                      | {@link HEADER_BYTES}: "ZBLKCAC1", then the number of sets, u32     |
 * |          | set x 512 + way x 32   | a slot's entry                                                     |
 * | `frames` | slot x SLOT_BYTES      | the frame of a slot, in its stored form                            |
 *
 * | entry    | length | is                                                                                 |
 * |----------|--------|------------------------------------------------------------------------------------|
 * | 0        | 8      | the segment's epoch; 0: the slot is empty; little-endian, as all numbers           |
 * | 8        | 6      | its counter                                                                        |
 * | 14       | 2      | the number of the frame                                                            |
 * | 16       | 4      | the length of the stored frame                                                     |
 * | 20       | 4      | the second of its last use, roughly                                                |
 * | 24       | 8      | the XXH64 of the frame, seeded by the hash of the key                              |
 *
 * Nothing is synced or locked. A torn or mixed slot fails its checksum and is a miss. A segment's key is never used twice, so
 * an intact slot is never stale.
 */
import { closeSync, ftruncateSync, readSync, write, writeSync } from 'node:fs'
import { mkdirSync, openSync, renameSync } from '../os-files.ts'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { xxh64 } from '../checksum.ts'
import { messageOf, systemCode } from '../errors.ts'
import { FRAME_MAX_BYTES, type SegmentId } from './segment.ts'

const writeAt = promisify(write)

const MAGIC = Buffer.from('ZBLKCAC1')
const HEADER_BYTES = 4096
const WAYS = 16
const ENTRY_BYTES = 32
const SET_BYTES = WAYS * ENTRY_BYTES
const PAGE_BYTES = 4096
const SLOT_BYTES = Math.ceil(FRAME_MAX_BYTES / PAGE_BYTES) * PAGE_BYTES
/** Age at which the time of the last use is written again. */
const STAMP_SECONDS = 60
/** Maximum frames that wait to be written; more are not cached. */
const PENDING_MAX = 64

/** The least useful size. */
export const DISK_CACHE_MIN_BYTES = WAYS * (SLOT_BYTES + ENTRY_BYTES) + HEADER_BYTES

export interface DiskCacheOptions {
  readonly directory: string
  /** Undefined: an existing cache is used as it is, and none is created. */
  readonly maxBytes: number | undefined
  /** Receives a sentence if the cache cannot be used. */
  readonly warn: (message: string) => void
}

export interface FrameKey {
  readonly segment: SegmentId
  readonly index: number
}

/** Descriptors. */
interface OpenFiles {
  readonly index: number
  readonly frames: number
}

export class DiskCache {
  readonly #options: DiskCacheOptions
  #sets = 0
  #files: OpenFiles | undefined
  readonly #set = Buffer.allocUnsafeSlow(SET_BYTES)
  /** By slot. */
  readonly #pending = new Map<number, Promise<void>>()
  #isDisabled = false

  private constructor(options: DiskCacheOptions) {
    this.#options = options
  }

  /** Undefined if there is none. A directory that cannot be used is a cache that is always empty, with a warning. */
  static open(options: DiskCacheOptions): DiskCache | undefined {
    if (options.maxBytes === 0) return undefined
    const cache = new DiskCache(options)
    try {
      cache.#openFiles()
    } catch (error) {
      cache.#disable(error)
    }
    return options.maxBytes === undefined && cache.#files === undefined ? undefined : cache
  }

  /** The stored form of a frame, as it was added; undefined if it is not there. */
  get(key: FrameKey): Buffer | undefined {
    if (this.#files === undefined) return undefined
    try {
      const { hash, way, entryAt, slot } = this.#find(key)
      if (way === undefined || this.#pending.has(slot)) return undefined
      const length = this.#set.readUInt32LE(way * ENTRY_BYTES + 16)
      const sum = this.#set.readBigUInt64LE(way * ENTRY_BYTES + 24)
      if (length > FRAME_MAX_BYTES) return undefined
      const stored = Buffer.allocUnsafeSlow(length)
      const isWhole = readSync(this.#files.frames, stored, 0, length, slot * SLOT_BYTES) === length
      if (!isWhole || xxh64(stored, hash) !== sum) {
        writeSync(this.#files.index, Buffer.alloc(ENTRY_BYTES), 0, ENTRY_BYTES, entryAt)
        return undefined
      }
      this.#stamp(way, entryAt)
      return stored
    } catch (error) {
      this.#disable(error)
      return undefined
    }
  }

  /** Whether a frame is there, as far as is known without reading it. */
  has(key: FrameKey): boolean {
    if (this.#files === undefined) return false
    try {
      return this.#find(key).way !== undefined
    } catch (error) {
      this.#disable(error)
      return false
    }
  }

  /** Adds an intact frame in its stored form, in the background. Its memory must not change. */
  put(key: FrameKey, stored: Uint8Array): void {
    if (this.#files === undefined || this.#pending.size >= PENDING_MAX || stored.length > SLOT_BYTES) return
    try {
      const { hash, way, set } = this.#find(key)
      if (way !== undefined) return
      const oldest = this.#oldestWay(set)
      if (oldest === undefined) return
      const slot = set * WAYS + oldest
      const entry = Buffer.alloc(ENTRY_BYTES)
      encodeKey(key).copy(entry)
      entry.writeUInt32LE(stored.length, 16)
      entry.writeUInt32LE(nowSeconds(), 20)
      entry.writeBigUInt64LE(xxh64(stored, hash), 24)
      this.#pending.set(
        slot,
        this.#write(this.#files, slot, stored, entry).finally(() => this.#pending.delete(slot)),
      )
    } catch (error) {
      this.#disable(error)
    }
  }

  /** Resolves when all added frames are written. */
  async close(): Promise<void> {
    await Promise.all(this.#pending.values())
    this.#closeFiles()
  }

  async #write(files: OpenFiles, slot: number, stored: Uint8Array, entry: Buffer): Promise<void> {
    try {
      const { bytesWritten } = await writeAt(files.frames, stored, 0, stored.length, slot * SLOT_BYTES)
      if (bytesWritten < stored.length) throw new Error('its disk is full')
      writeSync(files.index, entry, 0, ENTRY_BYTES, HEADER_BYTES + slot * ENTRY_BYTES)
    } catch (error) {
      this.#disable(error)
    }
  }

  /** Reads a key's set. `way` is undefined if the key is not in it. */
  #find(key: FrameKey): {
    readonly hash: bigint
    readonly set: number
    readonly way: number | undefined
    readonly entryAt: number
    readonly slot: number
  } {
    const encoded = encodeKey(key)
    const hash = xxh64(encoded)
    const set = Number(hash % BigInt(this.#sets))
    const read = readSync(this.#files?.index ?? -1, this.#set, 0, SET_BYTES, HEADER_BYTES + set * SET_BYTES)
    this.#set.fill(0, read)
    for (let way = 0; way < WAYS; way++) {
      const at = way * ENTRY_BYTES
      if (this.#set.compare(encoded, 0, encoded.length, at, at + encoded.length) !== 0) continue
      return { hash, set, way, entryAt: HEADER_BYTES + set * SET_BYTES + at, slot: set * WAYS + way }
    }
    return { hash, set, way: undefined, entryAt: 0, slot: 0 }
  }

  /** The least recently used way of the set that was read last, of those that are not being written. */
  #oldestWay(set: number): number | undefined {
    let found: number | undefined
    let oldest = Number.POSITIVE_INFINITY
    for (let way = 0; way < WAYS; way++) {
      if (this.#pending.has(set * WAYS + way)) continue
      const at = way * ENTRY_BYTES
      const stamp = this.#set.readBigUInt64LE(at) === 0n ? -1 : this.#set.readUInt32LE(at + 20)
      if (stamp >= oldest) continue
      oldest = stamp
      found = way
    }
    return found
  }

  #stamp(way: number, entryAt: number): void {
    const now = nowSeconds()
    const at = way * ENTRY_BYTES + 20
    if (this.#files === undefined || now - this.#set.readUInt32LE(at) < STAMP_SECONDS) return
    this.#set.writeUInt32LE(now, at)
    writeSync(this.#files.index, this.#set, at, 4, entryAt + 20)
  }

  #openFiles(): void {
    const { directory, maxBytes } = this.#options
    const names = { index: join(directory, 'index'), frames: join(directory, 'frames') }
    const wanted = maxBytes === undefined ? undefined : setsIn(maxBytes)
    const found = openIndex(names.index)
    if (found !== undefined && (wanted === undefined || found.sets === wanted)) {
      this.#sets = found.sets
      this.#files = { index: found.fd, frames: openSync(names.frames, 'r+') }
      return
    }
    if (found !== undefined) closeSync(found.fd)
    if (wanted === undefined) return
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    this.#sets = wanted
    const header = Buffer.alloc(HEADER_BYTES)
    MAGIC.copy(header)
    header.writeUInt32LE(wanted, MAGIC.length)
    // A process that has the previous files open keeps them until it closes them.
    const frames = createFile(names.frames, 0)
    const index = createFile(names.index, HEADER_BYTES + wanted * SET_BYTES)
    writeSync(index, header, 0, HEADER_BYTES, 0)
    this.#files = { index, frames }
  }

  #disable(error: unknown): void {
    if (this.#files === undefined && this.#isDisabled) return
    this.#isDisabled = true
    this.#closeFiles()
    const { directory, warn } = this.#options
    warn(`the disk cache in ${directory} cannot be used (${messageOf(error)}): going on without it`)
  }

  #closeFiles(): void {
    const files = this.#files
    this.#files = undefined
    if (files === undefined) return
    void Promise.all(this.#pending.values()).then(() => {
      closeSync(files.index)
      closeSync(files.frames)
    })
  }
}

/** The number of sets of a cache with this maximum length. */
const setsIn = (maxBytes: number): number =>
  Math.max(1, Math.floor((maxBytes - HEADER_BYTES) / (WAYS * (SLOT_BYTES + ENTRY_BYTES))))

/** An existing index; undefined if there is none. */
function openIndex(name: string): { readonly fd: number; readonly sets: number } | undefined {
  let fd: number
  try {
    fd = openSync(name, 'r+')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
  const header = Buffer.alloc(MAGIC.length + 4)
  const length = readSync(fd, header, 0, header.length, 0)
  const sets = header.readUInt32LE(MAGIC.length)
  if (length === header.length && header.subarray(0, MAGIC.length).equals(MAGIC) && sets > 0)
    return { fd, sets }
  closeSync(fd)
  return undefined
}

/** Replaces a file by a new one, which is open when it gets its name. */
function createFile(name: string, length: number): number {
  const fresh = `${name}.${process.pid}`
  const file = openSync(fresh, 'w+', 0o600)
  ftruncateSync(file, length)
  renameSync(fresh, name)
  return file
}

const nowSeconds = (): number => Math.floor(Date.now() / 1000)

function encodeKey({ segment, index }: FrameKey): Buffer {
  const encoded = Buffer.alloc(16)
  encoded.writeBigUInt64LE(BigInt(segment.epoch))
  encoded.writeUIntLE(segment.counter, 8, 6)
  encoded.writeUInt16LE(index, 14)
  return encoded
}
