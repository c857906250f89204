/**
 * Room on a disk that is nearly full, for what frees room: `DATABASE-log/reserve`, a file of allocated blocks without content.
 *
 * A deletion is a transaction too, and so is each step of a pack. Where the disk has no room for one, the reserve is given up, the
 * work is repeated in the room that this leaves, and the reserve is taken again as far as there is room. Programs cannot
 * use it up: statfs(2) and admission (core/file-system/commit/admission.ts) count what is missing of it as used.
 *
 *     free room   0 ........ size ................. 32 x size ........... 64 x size ........
 *     the file    what fits  whole                  whole, once made      none
 *
 * On a disk with ample room there is none: copies and small databases do not carry it. A filesystem that cannot allocate
 * blocks ahead (ZFS, NFS) has none either.
 */
import { closeSync, constants, rmSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { allocateBlocks } from '../segment-files/file-ranges.ts'
import { giveTo, heldPath, openSideFile } from '../segment-files/held-path.ts'
import { makeLogDirectory, type Owner } from '../segment-files/log-directory.ts'
import { logDirectory } from './log.ts'

const NAME = 'reserve'
const MIN_BYTES = 4 << 20
const MAX_BYTES = 64 << 20
const DISK_PART = 32
/** At most this part of a disk of a few megabytes. */
const SMALL_DISK_PART = 8
/** A disk with less free room than this multiple of the reserve is short of room. */
const SHORT_FACTOR = 32
/** Left free when the reserve takes what there is, and the least by which it grows. */
const SLACK_BYTES = 256 << 10

const reservePath = (database: string): string => join(logDirectory(database), NAME)

interface Disk {
  /** Free for this process. */
  readonly freeBytes: number
  /** How long the reserve is on this disk. */
  readonly reserveBytes: number
}

function diskOf(database: string): Disk {
  const { bsize, blocks, bavail } = statfsSync(database)
  const diskBytes = blocks * bsize
  const wanted = Math.min(MAX_BYTES, Math.max(MIN_BYTES, diskBytes / DISK_PART))
  return {
    freeBytes: bavail * bsize,
    reserveBytes: Math.floor(Math.min(wanted, diskBytes / SMALL_DISK_PART)),
  }
}

const heldBytes = (database: string): number =>
  statSync(reservePath(database), { throwIfNoEntry: false })?.size ?? 0

/** Bytes that the disk of a database has free beside what is missing of its reserve. @throws the errors of statfs(2) */
export function roomBeforeReserve(database: string): number {
  const { freeBytes, reserveBytes } = diskOf(database)
  return Math.max(0, freeBytes - Math.max(0, reserveBytes - heldBytes(database)))
}

/** Gives up the reserve of a database. @returns whether there was one. */
export function removeReserve(database: string): boolean {
  const hasRoom = heldBytes(database) > 0
  rmSync(reservePath(database), { force: true })
  return hasRoom
}

/** The reserve of a database that this thread writes to. */
export class Reserve {
  readonly #database: string
  readonly #owner: () => Owner
  #isPossible = true

  /** @param database its path, through the descriptor of its directory. @param owner the database's, who owns the file. */
  constructor(database: string, owner: () => Owner) {
    this.#database = database
    this.#owner = owner
  }

  /** Takes what is missing where the disk is short of room; gives all up where it has plenty. Never throws. */
  hold(): void {
    if (!this.#isPossible) return
    try {
      const { freeBytes, reserveBytes } = diskOf(this.#database)
      if (freeBytes > 2 * SHORT_FACTOR * reserveBytes) {
        if (heldBytes(this.#database) > 0) removeReserve(this.#database)
        return
      }
      if (freeBytes > SHORT_FACTOR * reserveBytes) return
      const held = heldBytes(this.#database)
      const wanted = Math.min(reserveBytes, held + freeBytes - SLACK_BYTES)
      if (wanted >= held + SLACK_BYTES || (wanted === reserveBytes && held < wanted)) this.#allocate(wanted)
    } catch {
      // Tried again after the next change.
    }
  }

  /** Makes its room free. @returns whether there was any. */
  giveUp(): boolean {
    try {
      return removeReserve(this.#database)
    } catch {
      return false
    }
  }

  /** The length of a transaction that may use the reserve: more than what a deletion takes, and not all of it. */
  get usableBytes(): number {
    return heldBytes(this.#database) / 2
  }

  #allocate(bytes: number): void {
    const directory = makeLogDirectory(logDirectory(this.#database), this.#owner())
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
