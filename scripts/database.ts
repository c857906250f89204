/** A database as a command uses it: through the SDK's classes, in this process or through the daemon that has it mounted. */
import { Database } from '../core/database/database.ts'
import { DatabaseHistory } from '../core/database/history.ts'
import { processOwner } from '../core/process-owner.ts'
import { NoAnswerError } from '../mount/daemon/no-answer.ts'
import { openHere, openServed, type OpenedDatabase } from '../mount/daemon/open-database.ts'
import { servingMount } from '../mount/daemon/serving-mount.ts'
import type { MountedDirectory } from '../mount/mount-points/mount-table.ts'
import { ALIVE_TIMEOUT_MS, callMount, unanswered } from './find-mount.ts'
import { withStore, type HistorySource } from './history-source.ts'

const UMASK = 0o022

/** Runs `use` with the history of a database, as it is stored. @throws CannotOpenError, CommandError */
export const withHistory = <T>(database: string, use: (history: DatabaseHistory) => Promise<T>): Promise<T> =>
  withStore(database, store => use(new DatabaseHistory(store)))

/**
 * Runs `use` with a database opened for changes: by the daemon that has it mounted, or by this process, which opens the database
 * meanwhile.
 * @throws LockedError if another process writes the database; CodedError of the daemon or the store.
 */
export async function withDatabase<T>(
  { database, mount }: Pick<HistorySource, 'database' | 'mount'>,
  purpose: string,
  use: (db: Database) => Promise<T>,
): Promise<T> {
  const serving = mount ?? (await servingMount(database))
  const opened =
    serving === undefined ? await openHere(database, { purpose }) : await served(database, serving)
  const caller = { ...processOwner(), pid: process.pid }
  const db = new Database({ ...opened, caller, umask: UMASK })
  let result: T
  try {
    result = await use(db)
  } catch (error) {
    // The first error counts.
    await db.close().catch(() => undefined)
    throw serving !== undefined && error instanceof NoAnswerError ? unanswered(serving, error) : error
  }
  await db.close()
  return result
}

async function served(database: string, mount: MountedDirectory): Promise<OpenedDatabase> {
  // A stopped daemon is reported within seconds, not when the call's own time has passed.
  await callMount(mount, 'status', {}, ALIVE_TIMEOUT_MS)
  const { close: _, ...opened } = await openServed(database, mount, 'when needed')
  const close = async (): Promise<void> => {
    await opened.fileSystem.close()
    await opened.store.close()
  }
  return { ...opened, close }
}
