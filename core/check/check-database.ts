/**
 * `fsck`: everything that a database promises, looked at from the bottom up.
 *
 * 1. the tables (store/sqlite/check/store-check.ts): SQLite's structure, checksums, counts;
 * 2. the objects (object-check.ts): records and references, at every kept moment;
 * 3. the filesystem (file-system-check.ts): directories, files, counts, as they are now.
 *
 * What 1 and 2 find lost is handed to 3, which names it by path and range; what 3 does not meet belongs to the past, or to
 * nothing. To repair, rows that are not what was written are removed first, 3 makes transactions of its repairs, and then all is
 * checked once more: what is left of the past cannot be mended and is noted, so that the next check is silent.
 */
import Database from 'better-sqlite3'
import { StoreError } from '../../store/errors.ts'
import { TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { readKeptMoments, type KeptMoments } from '../../store/kept-moments.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { Reader } from '../../store/sqlite/reader.ts'
import { assertRepairable, repairLog } from '../../store/sqlite/check/repair-log.ts'
import { lossName, noteLosses, repairRows } from '../../store/sqlite/check/repair-rows.ts'
import { storeError } from '../../store/sqlite/sqlite-errors.ts'
import type { SqliteStore, WritableSqliteStore } from '../../store/sqlite/sqlite-store.ts'
import {
  filesToCheck,
  StoreCheck,
  type Progress,
  type StoreDamage,
} from '../../store/sqlite/check/store-check.ts'
import { WriterLock } from '../../store/sqlite/open/writer-lock.ts'
import { Connection } from '../objects/connection.ts'
import type { Damage } from './damage.ts'
import { FileSystemCheck } from './file-system-check.ts'
import { Findings } from './findings.ts'
import { ObjectCheck } from './object-check.ts'

export interface CheckOptions {
  /** Reads every byte of the log. */
  readonly data: boolean
  readonly repair: boolean
  readonly report: (damage: Damage) => void
  readonly progress: Progress
}

export interface CheckSummary {
  readonly found: number
  /** Damages that are still there. */
  readonly left: number
  /** Objects that nothing reaches: a pack frees them. */
  readonly unreachable: number
  readonly inodes: number
}

const CACHE_BYTES = 32 << 20
const REPAIR_PURPOSE = 'zblkfs fsck --repair'
const NOTED = 'noted as lost for good; the present is whole'

/**
 * Checks a database of ours. Beside a mount it only reads.
 * @throws CannotOpenError where it cannot be opened at all; LockedError where it is to be repaired and is in use;
 *   StoreError where its tables are beyond repair.
 */
export async function checkDatabase(path: string, options: CheckOptions): Promise<CheckSummary> {
  // Says in words why it cannot be opened, where it cannot.
  await (await openSqliteStore(path, { readOnly: true, trustIndex: true })).close()
  try {
    return options.repair ? await repair(path, options) : await check(path, options)
  } catch (error) {
    throw storeError(error, path)
  }
}

async function check(path: string, options: CheckOptions): Promise<CheckSummary> {
  let found = 0
  const run = new Run(path, options, damage => {
    found++
    options.report(damage)
  })
  try {
    const { unreachable } = run.checkTablesAndObjects()
    const inodes = await run.checkFileSystem()
    run.reportUnnamed()
    return { found, left: found, unreachable, inodes }
  } finally {
    run.close()
  }
}

async function repair(path: string, options: CheckOptions): Promise<CheckSummary> {
  let found = 0
  const report = (damage: Damage): void => {
    found++
    options.report(damage.past === true ? { ...damage, repaired: NOTED } : damage)
  }
  const lock = WriterLock.take(path, REPAIR_PURPOSE)
  const run = new Run(path, options, report)
  try {
    try {
      assertRepairable(path)
      if (run.checkTablesAndObjects().needsRows) mendRows(path)
      repairLog(path)
    } finally {
      lock.release()
    }
    const inodes = await run.checkFileSystem()
    run.reportUnnamed()
    if (found === 0) return { found, left: 0, unreachable: 0, inodes }
  } finally {
    run.close()
  }
  const past: string[] = []
  let left = 0
  const again = await check(path, {
    ...options,
    repair: false,
    report(damage) {
      if (damage.past === true && damage.oid !== undefined && damage.tid !== undefined)
        past.push(lossName(damage.oid, damage.tid))
      else {
        left++
        options.report(damage)
      }
    },
  })
  noteLosses(path, past)
  return { ...again, found, left }
}

function mendRows(path: string): void {
  try {
    repairRows(path)
  } catch (error) {
    if (!(error instanceof Database.SqliteError)) throw error
    throw new StoreError(
      `the tables of ${path} cannot be read through (${error.message}), and nothing was changed`,
      { code: 'damaged-file', path, cause: error },
    )
  }
}

/** One look at a database, and what is remembered of it. */
class Run {
  readonly #path: string
  readonly #options: CheckOptions
  readonly #report: (damage: Damage) => void
  readonly #findings = new Findings()

  constructor(path: string, options: CheckOptions, report: (damage: Damage) => void) {
    this.#path = path
    this.#options = options
    this.#report = report
  }

  close(): void {
    this.#findings.close()
  }

  checkTablesAndObjects(): { readonly needsRows: boolean; readonly unreachable: number } {
    const { data, repair, progress } = this.#options
    const scans = this.#connect()
    const lookUps = this.#connect()
    let needsRows = false
    try {
      const upTo = lastTid(lookUps)
      const tables = new StoreCheck(scans, lookUps, upTo, progress)
      for (const damage of tables.run(data)) {
        needsRows ||= damage.kind !== 'data'
        this.#take(damage, lookUps, repair)
      }
      tables.close()
      return { needsRows, unreachable: this.#checkObjects(lookUps, scans, upTo) }
    } catch (error) {
      this.#takeFailure(error)
      return { needsRows: true, unreachable: 0 }
    } finally {
      scans.close()
      lookUps.close()
    }
  }

  /** Checks the filesystem as it is now; resolves to how many inodes there are. */
  async checkFileSystem(): Promise<number> {
    const { repair, progress } = this.#options
    const store = repair
      ? await openSqliteStore(this.#path, { purpose: REPAIR_PURPOSE, trustIndex: true })
      : await openSqliteStore(this.#path, { readOnly: true, trustIndex: true })
    const db = this.#connect()
    try {
      const connection = await openPresent(store)
      const parts = { connection, findings: this.#findings, report: this.#report, progress, db }
      const fileSystem = new FileSystemCheck(parts)
      await fileSystem.run()
      return fileSystem.count
    } catch (error) {
      if (repair) throw error
      this.#takeFailure(error)
      return 0
    } finally {
      db.close()
      await store.close()
    }
  }

  /** What is lost of objects that nothing shows any more. */
  reportUnnamed(): void {
    const db = this.#connect()
    for (const { oid, tid, reason } of this.#findings.unnamed())
      if (!isAccepted(db, { oid, tid })) this.#report({ kind: 'record', oid, tid, reason, past: true })
    db.close()
  }

  /** @param now a connection in no transaction. */
  #checkObjects(db: Database.Database, now: Database.Database, upTo: Tid): number {
    const files = filesToCheck(db)
    const turn = (): KeptMoments => {
      if (db.inTransaction) db.exec('COMMIT')
      db.exec('BEGIN')
      return readKeptMoments(db)
    }
    try {
      const there = now.prepare<[number, bigint]>(
        'SELECT 1 FROM revision INDEXED BY revision_by_oid WHERE oid = ? AND tid = ?',
      )
      const isThere = (oid: Oid, tid: Tid): boolean => there.get(oid, tid) !== undefined
      const { progress } = this.#options
      const reader = new Reader(db, files)
      const parts = { db, reader, findings: this.#findings, turn, isThere, upTo, progress }
      const objects = new ObjectCheck(parts)
      for (const damage of objects.run()) if (!isAccepted(db, damage)) this.#report(damage)
      return objects.unreachable()
    } finally {
      files.close()
      if (db.inTransaction) db.exec('COMMIT')
    }
  }

  /** What ends a part of the check is a damage too. */
  #takeFailure(error: unknown): void {
    const known = storeError(error, this.#path)
    // Damaged tables may give values that no column has; whoever meets them first says so.
    const isOdd = known instanceof TypeError || known instanceof RangeError
    if (!isOdd && !(known instanceof StoreError)) throw known
    const reason = isOdd
      ? `the check cannot go on: a value is none that can be there (${known.message})`
      : known.message
    this.#report({ kind: 'structure', reason })
  }

  #take(damage: StoreDamage, db: Database.Database, repair: boolean): void {
    const { kind, reason, oid, tid } = damage
    if (kind === 'structure' || kind === 'transaction') {
      const named = { kind, reason, ...(tid !== undefined && { tid }) }
      this.#report(repair ? { ...named, repaired: 'the tables are made anew of what is whole' } : named)
    } else if (oid !== undefined && tid !== undefined) {
      const newest = newestTid(db, oid)
      const isCurrent = newest === undefined || newest <= tid
      this.#findings.addLost({ ...damage, oid, tid }, isCurrent)
    }
  }

  #connect(): Database.Database {
    const db = new Database(this.#path, { readonly: true, fileMustExist: true })
    db.pragma(`cache_size = -${CACHE_BYTES >> 10}`)
    return db
  }
}

/** A view of the present that a pack beside leaves alone. */
async function openPresent(store: SqliteStore | WritableSqliteStore): Promise<Connection> {
  for (;;) {
    const connection = await Connection.open(store, { cacheSizeBytes: CACHE_BYTES })
    if (store.readOnly) await store.pin([connection.at]).catch(() => false)
    // Else a pack was faster.
    if (await store.isKept(connection.at)) return connection
  }
}

function lastTid(db: Database.Database): Tid {
  const query = `SELECT max(coalesce((SELECT max(tid) FROM txn), 0), coalesce((SELECT max(tid) FROM revision), 0))`
  return (db.prepare<[], bigint>(query).pluck().safeIntegers().get() ?? TID_NONE) as Tid
}

function newestTid(db: Database.Database, oid: Oid): bigint | undefined {
  const query = 'SELECT tid FROM revision INDEXED BY revision_by_oid WHERE oid = ? LIMIT 1'
  return db.prepare<[number], bigint>(query).pluck().safeIntegers().get(oid)
}

/** Whether an earlier repair has noted it. */
function isAccepted(
  db: Database.Database,
  { oid, tid }: { readonly oid?: Oid; readonly tid?: Tid },
): boolean {
  if (oid === undefined || tid === undefined) return false
  return db.prepare('SELECT 1 FROM meta WHERE name = ?').get(lossName(oid, tid)) !== undefined
}
