/**
 * Reserved space for changes that free space on a full disk: `DATABASE-log/reserve`, a file of allocated blocks without content.
 *
 * A deletion is a transaction too, and so is each step of a pack. If the disk is full, the reserve is released, the
 * work is retried in the freed space, and the reserve is allocated again as far as space permits. Programs cannot
 * use it up: statfs(2) and admission (core/file-system/commit/admission.ts) count its missing part as used.
 *
 *     free space            0 ........ size ................. 32 x size ........
 *     open for writing      what fits  whole                  whole
 *     closed                kept       kept                   none
 *
 * Another program may fill any disk at once, so a database that is open for writing has a reserve on every disk. One that is closed
 * has none where space is ample: its copies do not carry one. A filesystem that cannot preallocate blocks (ZFS, NFS) has none.
 */
import { closeSync, constants } from 'node:fs'
import { rmSync, statfsSync, statSync } from '../os-files.ts'
import { dirname, join } from 'node:path'
import { allocateBlocks } from '../segment-files/file-ranges.ts'
import { giveTo, heldPath, openSideFile } from '../segment-files/held-path.ts'
import { makeLogDirectory, type Owner } from '../segment-files/log-directory.ts'
import { logDirectory } from './log.ts'

const NAME = 'reserve'
const MIN_BYTES = 4 << 20
const MAX_BYTES = 64 << 20
const DISK_PART = 32
/** Maximum fraction of a small disk (a few megabytes). */
const SMALL_DISK_PART = 8
/** A disk with less free space than this multiple of the reserve is short of space. */
const SHORT_FACTOR = 32
/** Minimum that is secured. Smaller commits store blocks several times: with 2 MiB, a file of 30 MiB took 54 MiB. */
const SECURED_MIN_BYTES = 16 << 20
/** Fraction of the reserve that one transaction may use; the rest is for what SQLite writes, and for the next one. */
const TRANSACTION_PART = 1 / 2
/** Space left free when the reserve takes the rest, and the minimum by which it grows. */
const SLACK_BYTES = 256 << 10

const reservePath = (database: string): string => join(logDirectory(database), NAME)

interface Disk {
  /** Space available to this process. */
  readonly freeBytes: number
  /** Target length of the reserve on this disk. */
  readonly reserveBytes: number
}

function diskOf(database: string): Disk {
  const { bsize, blocks, bavail } = statfsSync(dirname(database))
  const diskBytes = blocks * bsize
  const wanted = Math.min(MAX_BYTES, Math.max(MIN_BYTES, diskBytes / DISK_PART))
  return {
    freeBytes: bavail * bsize,
    reserveBytes: Math.floor(Math.min(wanted, diskBytes / SMALL_DISK_PART)),
  }
}

const heldBytes = (database: string): number =>
  statSync(reservePath(database), { throwIfNoEntry: false })?.size ?? 0

/** Free bytes on the database's disk, less the missing part of its reserve. @throws the errors of statfs(2) */
export function roomBeforeReserve(database: string): number {
  const { freeBytes, reserveBytes } = diskOf(database)
  return Math.max(0, freeBytes - Math.max(0, reserveBytes - heldBytes(database)))
}

/** As Measuring.securedBytes (store/capabilities.ts): see {@link Reserve.admits}. @throws the errors of statfs(2) */
export function securedBytes(database: string): number | undefined {
  const held = heldBytes(database)
  if (held === 0) return undefined
  const { freeBytes, reserveBytes } = diskOf(database)
  const bytes = held * TRANSACTION_PART
  return freeBytes > SHORT_FACTOR * reserveBytes || bytes < SECURED_MIN_BYTES ? undefined : bytes
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
  #isPossible = true

  /** @param database returns its path, through the descriptor of its directory. @param owner the database's owner, who also owns the file. */
  constructor(database: () => string, owner: () => Owner) {
    this.#database = database
    this.#owner = owner
  }

  /** Fills up the reserve as far as space permits. Never throws. */
  hold(): void {
    if (!this.#isPossible) return
    try {
      const { freeBytes, reserveBytes } = diskOf(this.#database())
      const held = heldBytes(this.#database())
      const wanted = Math.min(reserveBytes, held + freeBytes - SLACK_BYTES)
      if (wanted >= held + SLACK_BYTES || (wanted === reserveBytes && held < wanted)) this.#allocate(wanted)
    } catch {
      // Tried again after the next change.
    }
  }

  /** Releases the reserve if space is ample, when the database is closed. Never throws. */
  close(): void {
    try {
      const { freeBytes, reserveBytes } = diskOf(this.#database())
      if (freeBytes > SHORT_FACTOR * reserveBytes) removeReserve(this.#database())
    } catch {
      // The next writer that closes the database tries again.
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
   * Whether a transaction of `bytes` may use the reserve: if half of it makes up for what the disk lacks. So a deletion finds room,
   * together with the changes that were admitted before it: unstored changes take no more than that ({@link securedBytes}).
   * @param freeBytes were free before it failed: what it has written is discarded.
   */
  admits(bytes: number, freeBytes: number): boolean {
    return bytes - freeBytes <= heldBytes(this.#database()) * TRANSACTION_PART
  }

  #allocate(bytes: number): void {
    const directory = makeLogDirectory(logDirectory(this.#database()), this.#owner())
    try {
      const fd = openSideFile(heldPath(directory, NAME), constants.O_RDWR | constants.O_CREAT)
      try {
        giveTo(fd, this.#owner())
        this.#isPossible = allocateBlocks(fd, bytes)
      } finally {
        closeSync(fd)
      }
    } finally {
      closeSync(directory)
    }
  }
}
