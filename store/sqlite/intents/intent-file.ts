/**
 * `DATABASE-log/intents`, the file of the intent log: of fixed length, and filled with zeros when it is made. Overwriting allocated
 * bytes is the cheapest durable write: one write and one sync, without a change of the file's length or blocks.
 */
import { closeSync, readSync } from 'node:fs'
import { constants, type FileHandle } from 'node:fs/promises'
import { open } from '../../os-files-async.ts'
import { dirname } from 'node:path'
import type { FoundIntents } from '../../capabilities.ts'
import type { IntentSeal } from '../../encryption/intent-seal.ts'
import { formatTid, type Tid } from '../../ids.ts'
import { giveTo, heldPath, isMissing, openSideFile, syncNames } from '../../side-files.ts'
import { makeLogDirectory } from '../../segment-files/log-directory.ts'
import { INTENTS_NAME, intentsPath, logDirectory } from '../log.ts'
import type { DatabasePlace } from '../open/database-place.ts'
import { roomBeforeReserve } from '../reserve.ts'
import { entriesAfter } from './entries.ts'

/** Half of it, which is in use when a transaction starts, fits 1024 writes of a page, whose entries take two pages each. */
export const INTENTS_BYTES = 16 << 20

/** The file is created only if the disk has this much free space: on a full disk the changes themselves need it. */
const FILL_ROOM_BYTES = 4 * INTENTS_BYTES

/**
 * Reads the entries that are valid after transaction `last`, in order, up to one that is damaged or incomplete.
 * @param seal as for {@link entriesAfter}.
 */
export const readIntents = (database: string, id: string, last: Tid, seal?: IntentSeal): FoundIntents =>
  entriesAfter(readWhole(intentsPath(database)), id, last, seal)

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

/**
 * Opens the file for synchronous writes; creates it if it is missing or incomplete.
 * @param isStale whether it has entries that must not be found beside new ones.
 */
export async function openIntentFile(place: DatabasePlace, isStale: boolean): Promise<FileHandle> {
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
      if (isStale || stats.size !== INTENTS_BYTES)
        await fill(file, [`/proc/self/fd/${directory}`, dirname(place.held)])
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
    syncNames(directories)
  } catch (error) {
    // The transaction that replaces the entry needs this space.
    await file.truncate(0).catch(() => undefined)
    throw error
  }
}

/** The message about entries that no mount has replayed. */
export const waitingIntents = (database: string, last: Tid, count: number): string =>
  `${database} has ${count === 1 ? 'a synced change that is' : `${count} synced changes that are`} not in a transaction yet ` +
  `(after ${formatTid(last)}): mount it for writing once; if that fails, and they are not needed, remove ${intentsPath(database)}`
