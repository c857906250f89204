/** The files of a database: its SQLite file, and the log next to it. */
import { copyFile, cp, rm, stat } from 'node:fs/promises'
import { logBytesOnDisk, logDirectory } from '../../store/sqlite/log.ts'

/** Copies a database that no process has open. */
export async function copyDatabase(from: string, to: string): Promise<void> {
  await removeDatabase(to)
  await copyFile(from, to)
  if ((await stat(logDirectory(from)).catch(() => undefined)) !== undefined)
    await cp(logDirectory(from), logDirectory(to), { recursive: true })
}

export async function removeDatabase(path: string): Promise<void> {
  for (const end of ['', '-wal', '-shm']) await rm(path + end, { force: true })
  await rm(logDirectory(path), { recursive: true, force: true })
}

/** Returns how many bytes of disk a database takes that no process has open. */
export const databaseBytes = async (path: string): Promise<number> =>
  (await stat(path)).size + logBytesOnDisk(path)
