/**
 * Reserved space for changes that free space: `DATABASE-log/reserve`, a file of allocated blocks without content.
 *
 * A deletion is a transaction too, and so is each step of a pack. If the disk is full, the reserve is released, the
 * work is retried in the freed space, and the reserve is allocated again as far as space permits. Programs cannot
 * use it up: statfs(2) and admission (core/file-system/commit/admission.ts) count its missing part as used.
 *
 *     free space            0 ........ size ................. 32 x size ........
 *     open for writing      what fits  whole                  as it was
 *     by a mount, or 1 s    what fits  whole                  whole
 *     closed                kept       kept                   none
 *
 * A writer that keeps the database open (a mount) holds it on a disk with ample space too, because another program may fill the disk at
 * once; commands are done sooner, and removing it takes up to 22 ms. It is released there when the database is closed, so that copies do
 * not carry it; a process that was killed leaves it to the next one.
 * A filesystem that cannot preallocate blocks (ZFS, NFS) has none.
 */
import { closeSync, constants } from 'node:fs'
import { lstatSync, rmdirSync, rmSync, statfsSync } from '../os-files.ts'
import { dirname, join } from 'node:path'
import { allocateBlocks } from '../segment-files/file-ranges.ts'
import { giveTo, heldPath, openSideFile } from '../side-files.ts'
import { makeLogDirectory, type Owner } from '../segment-files/log-directory.ts'
import { logDirectory } from './log.ts'

/** Its name in the log's directory. */
export const RESERVE = 'reserve'
const MAX_BYTES = 64 << 20
const DISK_PART = 32
/** Minimum, as far as {@link SMALL_DISK_PART} allows it. */
const MIN_BYTES = 32 << 20
/** Maximum fraction of a small disk. */
const SMALL_DISK_PART = 8
/** The reserve, for deletions and packs, of a disk that is too small to secure changes in memory. */
const BARE_BYTES = 4 << 20
/** A disk with less free space than this multiple of the reserve is short of space. */
const SHORT_FACTOR = 32
/** Minimum that is secured. Smaller commits store blocks several times: with 2 MiB, a file of 30 MiB took 54 MiB. */
const SECURED_MIN_BYTES = 8 << 20
/** Fraction of the reserve that unstored changes may use. The rest is for what SQLite writes, and for the next transaction. */
const SECURED_PART = 1 / 2
/** Space of a reserve for the deletions behind the unstored changes that it secures. */
const DELETIONS_BYTES = 2 << 20
/** Space left free when the reserve takes the rest, and the minimum by which it grows. */
const SLACK_BYTES = 256 << 10

const reservePath = (database: string): string => join(logDirectory(database), RESERVE)

interface Disk {
  /** Space available to this process. */
  readonly freeBytes: number
  /** Target length of the reserve on this disk. */
  readonly reserveBytes: number
}

function diskOf(database: string): Disk {
  const { bsize, blocks, bavail } = statfsSync(dirname(database))
  const diskBytes = blocks * bsize
  const maxBytes = Math.min(MAX_BYTES, diskBytes / SMALL_DISK_PART)
  const wanted = Math.max(
    maxBytes * SECURED_PART < SECURED_MIN_BYTES ? BARE_BYTES : MIN_BYTES,
    diskBytes / DISK_PART,
  )
  return { freeBytes: bavail * bsize, reserveBytes: Math.floor(Math.min(wanted, maxBytes)) }
}

const isShort = ({ freeBytes, reserveBytes }: Disk): boolean => freeBytes <= SHORT_FACTOR * reserveBytes

/** Bytes that removing the file frees: none if it has a second name (`cp -al`). */
function heldBytes(database: string): number {
  const stats = lstatSync(reservePath(database), { throwIfNoEntry: false })
  return stats?.isFile() === true && stats.nlink === 1 ? stats.size : 0
}

/** Free bytes on the database's disk, less the missing part of its reserve. @throws the errors of statfs(2) */
export function roomBeforeReserve(database: string): number {
  const { freeBytes, reserveBytes } = diskOf(database)
  return Math.max(0, freeBytes - Math.max(0, reserveBytes - heldBytes(database)))
}

/** As Measuring.securedBytes (store/capabilities.ts): see {@link Reserve.admits}. @throws the errors of statfs(2) */
export function securedBytes(database: string): number | undefined {
  const held = heldBytes(database)
  if (held === 0) return undefined
  const bytes = held * SECURED_PART
  return !isShort(diskOf(database)) || bytes < SECURED_MIN_BYTES ? undefined : bytes
}

/** Releases the reserve of a database. @returns whether it had one. */
export function removeReserve(database: string): boolean {
  const hasRoom = heldBytes(database) > 0
  rmSync(reservePath(database), { force: true })
  return hasRoom
}

/** The reserve of a database that this thread writes to. */
export class Reserve {
  readonly #database: () => string
  readonly #owner: () => Owner
  readonly #isNamed: () => boolean
  #isPossible = true
  #isForAmple = false

  /**
   * @param database returns its path, through the descriptor of its directory. @param owner the database's owner, who also owns the file.
   * @param isNamed whether the database still has that path: a removed one has no reserve, and a renamed one has it under its new name.
   */
  constructor(database: () => string, owner: () => Owner, isNamed: () => boolean) {
    this.#database = database
    this.#owner = owner
    this.#isNamed = isNamed
  }

  /** From now on {@link Reserve.hold} fills it up on a disk with ample space too. */
  holdOnAmpleDisk(): void {
    this.#isForAmple = true
  }

  /** Fills up the reserve. Never throws. */
  hold(): void {
    if (!this.#isPossible) return
    try {
      const disk = diskOf(this.#database())
      if (!this.#isForAmple && !isShort(disk)) return
      const { freeBytes, reserveBytes } = disk
      const held = heldBytes(this.#database())
      const wanted = Math.min(reserveBytes, held + freeBytes - SLACK_BYTES)
      if (wanted >= held + SLACK_BYTES || (wanted === reserveBytes && held < wanted)) this.#allocate(wanted)
    } catch {
      // Tried again after the next change.
    }
  }

  /**
   * Releases the reserve unless the disk is short of space, and removes the directory that was created for it if nothing else is in it.
   * Call when the database is closed. Never throws.
   */
  close(): void {
    if (this.#isShort()) return
    try {
      if (!this.#isNamed()) return
      this.giveUp()
      rmdirSync(logDirectory(this.#database()))
    } catch {
      // There is none, or the log is in it.
    }
  }

  /** Releases the reserve. @returns whether there was one. */
  giveUp(): boolean {
    try {
      return removeReserve(this.#database())
    } catch {
      return false
    }
  }

  /** Free bytes on the disk, without the reserve; 0 if that is unknown. */
  get freeBytes(): number {
    try {
      return diskOf(this.#database()).freeBytes
    } catch {
      return 0
    }
  }

  /**
   * Whether a transaction of `bytes` may use the reserve: if little more than half of it makes up for what the disk lacks. So a deletion
   * finds room, together with the changes that were admitted before it: those take no more than half ({@link securedBytes}).
   * @param freeBytes were free before it failed: what it has written is discarded.
   */
  admits(bytes: number, freeBytes: number): boolean {
    const half = heldBytes(this.#database()) * SECURED_PART
    return bytes - freeBytes <= (half < SECURED_MIN_BYTES ? half : half + DELETIONS_BYTES)
  }

  /** Whether the disk has little free space; true if that is unknown. */
  #isShort(): boolean {
    try {
      return isShort(diskOf(this.#database()))
    } catch {
      return true
    }
  }

  #allocate(bytes: number): void {
    if (!this.#isNamed()) return
    const directory = makeLogDirectory(logDirectory(this.#database()), this.#owner())
    try {
      const path = heldPath(directory, RESERVE)
      if (heldBytes(this.#database()) === 0) rmSync(path, { force: true })
      const fd = openSideFile(path, constants.O_RDWR | constants.O_CREAT)
      try {
        giveTo(fd, this.#owner())
        this.#isPossible = allocateBlocks(fd, bytes)
        // It would keep what fallocate(2) has got of a user's quota.
        if (!this.#isPossible) rmSync(path, { force: true })
      } finally {
        closeSync(fd)
      }
    } finally {
      closeSync(directory)
    }
  }
}
