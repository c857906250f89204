/**
 * Saves a database that was removed while a process had it open: Linux keeps the bytes of a file until its last descriptor is
 * closed, and /proc/PID/fd leads to them.
 *
 * | descriptor of            | saved as          | where                                                        |
 * |--------------------------|-------------------|--------------------------------------------------------------|
 * | `DB`, `DB-wal`           | `TARGET`          | the WAL is copied into it                                    |
 * | `DB-log/NAME`            | `TARGET-log/NAME` | the segments that are open: the newest, and those read last  |
 * | `DB-log`                 | `TARGET-log/NAME` | all others, if the directory is still there                  |
 */
import { execFile } from 'node:child_process'
import { lstatSync, mkdirSync, readdirSync, readlinkSync, statSync } from '../os-files.ts'
import { basename, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import Database from 'better-sqlite3'
import { sqliteName } from '../sqlite-name.ts'
import { CannotOpenError, StoreError } from '../errors.ts'
import { startable } from '../os-command.ts'
import { logDirectory } from './log.ts'
import { removeMark } from './open/writing-mark.ts'

const run = promisify(execFile)
const DELETED = ' (deleted)'

/** What was saved. */
export interface Rescued {
  /** The name that the database had. */
  readonly database: string
  /** Files of its log that were saved. */
  readonly logFiles: number
}

interface OpenFile {
  /** A path that leads to it, whatever became of its name. */
  readonly held: string
  readonly isRemoved: boolean
}

/**
 * Saves the database that process `pid` has open as a new one.
 * @throws StoreError if the process has none, or none that was removed; CannotOpenError if the target exists.
 */
export async function rescueDatabase(pid: number, target: string): Promise<Rescued> {
  const files = openFiles(pid)
  const wal = [...files.keys()].find(path => path.endsWith('-wal'))
  const database = wal?.slice(0, -'-wal'.length) ?? ''
  const main = files.get(database)
  if (wal === undefined || main === undefined)
    throw new StoreError(`process ${pid} has no database of zblkfs open for writing`)
  const log = logDirectory(database)
  const parts = [...files].filter(
    ([path]) => path === database || path === wal || path === log || dirname(path) === log,
  )
  if (!parts.some(([, { isRemoved }]) => isRemoved))
    throw new StoreError(`${database} was not removed: nothing has to be rescued`)
  for (const path of [target, `${target}-wal`, logDirectory(target)])
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined)
      throw new CannotOpenError(`${path} exists: choose another name`)
  await copy(main.held, target)
  await copy(files.get(wal)?.held ?? '', `${target}-wal`)
  const logFiles = await copyLog(files, log, logDirectory(target))
  close(target)
  return { database, logFiles }
}

/** The files and directories that a process has open, by the names that they have or had. */
function openFiles(pid: number): ReadonlyMap<string, OpenFile> {
  const directory = `/proc/${pid}/fd`
  const files = new Map<string, OpenFile>()
  let names: readonly string[]
  try {
    names = readdirSync(directory)
  } catch (error) {
    throw new StoreError(`the open files of process ${pid} cannot be read: is it running, and yours?`, {
      cause: error,
    })
  }
  for (const name of names) {
    const held = `${directory}/${name}`
    try {
      const link = readlinkSync(held)
      const isRemoved = link.endsWith(DELETED) && statSync(held).nlink === 0
      const path = isRemoved ? link.slice(0, -DELETED.length) : link
      if (files.get(path)?.isRemoved !== true) files.set(path, { held, isRemoved })
    } catch {
      // It was closed meanwhile.
    }
  }
  return files
}

async function copyLog(files: ReadonlyMap<string, OpenFile>, log: string, target: string): Promise<number> {
  const directory = files.get(log)
  const sources = new Map<string, string>()
  if (directory?.isRemoved === false)
    for (const name of readdirSync(directory.held)) sources.set(name, join(directory.held, name))
  for (const [path, { held }] of files) if (dirname(path) === log) sources.set(basename(path), held)
  if (sources.size === 0) return 0
  mkdirSync(target, { mode: 0o700 })
  for (const [name, source] of sources) await copy(source, join(target, name))
  return sources.size
}

/** Copies a file with its holes. */
async function copy(from: string, to: string): Promise<void> {
  const [program = '', ...parameters] = startable(['cp', '--sparse=always', '--', from, to])
  await run(program, parameters)
}

/** Copies the WAL into the file, and marks it as complete. */
function close(path: string): void {
  const db = new Database(sqliteName(path), { fileMustExist: true })
  try {
    removeMark(db)
    db.pragma('wal_checkpoint(TRUNCATE)')
  } finally {
    db.close()
  }
}
