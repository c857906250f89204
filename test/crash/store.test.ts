/**
 * A machine that stops in the middle of a commit or a checkpoint: unsynced writes may be present in part, in any
 * order. Simulated with copies: the files at the last sync, with a random subset of the sectors written since.
 * A commit syncs the log before it writes to the WAL; the last test checks that.
 */
import { copyFile, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import Database from 'better-sqlite3'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { checkDatabase } from '../../core/check/check-database.ts'
import { describeDamage } from '../../core/check/damage.ts'
import { FileSystem } from '../../core/file-system/file-system.ts'
import { oid as toOid, TID_NONE } from '../../store/ids.ts'
import { Checkpoints } from '../../store/sqlite/writer/checkpoints.ts'
import { openWriters } from '../../store/sqlite/writer/open-writers.ts'
import { LogWriter } from '../../store/segment-files/log-writer.ts'
import { segmentPath } from '../../store/segment-files/log-layout.ts'
import { logDirectory, logFilesOf } from '../../store/sqlite/log.ts'
import { createSchema } from '../../store/sqlite/schema.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { pattern } from '../core/check/small-database.ts'
import { Random } from '../stress/random.ts'
import { removeDatabase } from '../tools/database-files.ts'
import { Paths } from '../tools/paths.ts'

const SEED = Number(process.env['CRASH_SEED'] ?? Random.seed())
const COMMITS = 12
const TRIES = 60
const SECTOR = 4096

/** The files after a commit. */
interface Synced {
  readonly db: Buffer
  readonly wal: Buffer
  /** The log's only segment. */
  readonly log: Buffer
}

let directory: string
/** `synced[k]`: the files after k commits. */
const synced: Synced[] = []
let checkpointed: Buffer

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'zblkfs-torn-'))
  const path = join(directory, 'store.zblkfs')
  const store = await openSqliteStore(path, { create: true })
  const fs = await FileSystem.open(store, { commitIntervalMs: 1e9 })
  const paths = new Paths(fs)
  const snapshot = async (): Promise<void> => {
    const log = await readFile(segmentPath(logDirectory(path), 0)).catch(() => Buffer.alloc(0))
    synced.push({ db: await readFile(path), wal: await readFile(`${path}-wal`), log })
  }
  await paths.write('/number', '0')
  await fs.sync()
  await snapshot()
  for (let k = 1; k <= COMMITS; k++) {
    await paths.write('/number', String(k))
    await paths.write(`/file ${k}`, pattern(k % 3 === 0 ? 300_000 : 5000, k))
    if (k > 2) await paths.unlink(`/file ${k - 2}`)
    await fs.sync()
    await snapshot()
  }
  const copy = join(directory, 'checkpoint.zblkfs')
  await copyFile(path, copy)
  await copyFile(`${path}-wal`, `${copy}-wal`)
  const db = new Database(copy)
  db.pragma('wal_checkpoint(TRUNCATE)')
  db.close()
  checkpointed = await readFile(copy)
  await fs.close()
})
afterAll(async () => await rm(directory, { recursive: true, force: true }))

/** `before` with a random subset of the sectors of `after` that differ or extend it; the end may be cut. */
function torn(before: Buffer, after: Buffer, random: Random): Buffer {
  const length = before.length + random.below(Math.max(1, after.length - before.length + 1))
  const bytes = Buffer.alloc(Math.max(length, before.length))
  before.copy(bytes)
  const kept = random.next()
  for (let at = 0; at < bytes.length; at += SECTOR)
    if (random.next() < kept) after.copy(bytes, at, at, Math.min(at + SECTOR, bytes.length))
  return bytes
}

/** Number of commits of a database; reads everything in it. */
async function commitsIn(db: Buffer, wal: Buffer, log: Buffer): Promise<number> {
  const path = join(directory, 'torn.zblkfs')
  await removeDatabase(path)
  await writeFile(path, db)
  if (log.length > 0) {
    await mkdir(logDirectory(path))
    await writeFile(segmentPath(logDirectory(path), 0), log)
  }
  await writeFile(`${path}-wal`, wal)
  const store = await openSqliteStore(path)
  const fs = await FileSystem.open(store)
  const paths = new Paths(fs)
  const k = Number(await paths.read('/number'))
  for (const j of [k - 1, k].filter(j => j > 0))
    expect((await paths.read(`/file ${j}`)).equals(pattern(j % 3 === 0 ? 300_000 : 5000, j))).toBe(true)
  expect((await paths.list('')).length).toBe(1 + Math.min(k, 2))
  // The database accepts new commits.
  await paths.write('/after', 'the crash')
  await fs.close()
  const damages: string[] = []
  await checkDatabase(path, {
    data: true,
    repair: false,
    report: damage => void damages.push(describeDamage(damage)),
    progress: () => undefined,
  })
  expect(damages).toEqual([])
  return k
}

test(`a commit of which any part reached the disk is there as a whole or not at all, and those before it are (CRASH_SEED=${SEED})`, async () => {
  const random = new Random(SEED)
  let absent = 0
  for (let count = 0; count < TRIES; count++) {
    const k = random.below(COMMITS)
    const before = synced[k]!
    const after = synced[k + 1]!
    // The WAL has no frame of the commit before the log is on the disk.
    const isLogging = random.below(2) === 0
    const found = isLogging
      ? await commitsIn(before.db, before.wal, torn(before.log, after.log, random))
      : await commitsIn(before.db, torn(before.wal, after.wal, random), after.log)
    if (isLogging) expect(found, `try ${count}`).toBe(k)
    expect([k, k + 1], `try ${count}`).toContain(found)
    absent += found === k ? 1 : 0
  }
  expect(absent).toBeGreaterThan(0)
})

test(`a checkpoint of which any part reached the disk loses nothing (CRASH_SEED=${SEED})`, async () => {
  const random = new Random(SEED + 1)
  const last = synced[COMMITS]!
  expect(checkpointed.equals(last.db)).toBe(false)
  for (let count = 0; count < 20; count++)
    expect(await commitsIn(torn(last.db, checkpointed, random), last.wal, last.log), `try ${count}`).toBe(
      COMMITS,
    )
  expect((await stat(join(directory, 'store.zblkfs'))).size).toBeGreaterThan(0)
})

test('SQLite commits when the log is synced, and writes nothing of a transaction before', async () => {
  const path = join(directory, 'order.zblkfs')
  const db = new Database(path)
  createSchema(db)
  db.pragma('journal_mode = WAL')
  db.pragma('wal_autocheckpoint = 0')
  const steps: string[] = []
  const sync = vi.spyOn(LogWriter.prototype, 'sync').mockImplementation(async () => {
    await nextTurn()
    steps.push('synced')
  })
  const watched = new Proxy(db, {
    get(target, name) {
      if (name !== 'prepare') return Reflect.get(target, name, target) as unknown
      return (source: string) => {
        const statement = target.prepare(source)
        if (source !== 'COMMIT') return statement
        return { run: () => (steps.push(`commit after ${walLength(path)}`), statement.run()) }
      }
    },
  })
  const length = walLength(path)
  const { committer } = await openWriters(
    watched,
    logFilesOf(db, 'write'),
    new Checkpoints(db),
    () => {},
    undefined,
    undefined,
  )
  const body = [pattern(3 << 20, 1)]
  const record = { head: new Uint8Array(0), body }
  steps.length = 0
  await committer.commit({ changes: [{ oid: toOid(1), base: TID_NONE, record }] }, 0)
  expect(steps).toEqual(['synced', `commit after ${length}`])
  expect(walLength(path)).toBeGreaterThan(length)
  sync.mockRestore()
  db.close()
})

const walLength = (path: string): number => statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0
