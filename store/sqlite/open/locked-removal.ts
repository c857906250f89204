/** Removes databases while holding their lock, so that no other process begins to write what is being removed. */
import Database from 'better-sqlite3'
import { sqliteName } from '../../sqlite-name.ts'
import { TID_NONE } from '../../ids.ts'
import { lastTidOf } from '../log.ts'
import { WriterLock } from './writer-lock.ts'

/** Runs `remove` with the lock of a database, of which there may be no file. @throws LockedError if another process writes it. */
export async function withoutWriter(path: string, remove: () => Promise<void>): Promise<void> {
  const lock = WriterLock.take(path, 'being removed')
  try {
    await remove()
  } finally {
    lock.release()
  }
}

/** Whether a database has no transaction. */
export function isEmptyDatabase(path: string): boolean {
  const db = new Database(sqliteName(path), { readonly: true, fileMustExist: true })
  try {
    return lastTidOf(db) === TID_NONE
  } finally {
    db.close()
  }
}
