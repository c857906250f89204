/** The worker thread that owns the writable connection. Its other end is writer-client.ts. */
import type { Awaitable } from '../../awaitable.ts'
import { fstatSync } from 'node:fs'
import { NoSpaceError, toWire } from '../../errors.ts'
import { parentPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { sqliteName } from '../../sqlite-name.ts'
import { Checkpoints } from './checkpoints.ts'
import { openWriters, type Writers } from './open-writers.ts'
import { logFilesOf } from '../log.ts'
import type { WriterData, WriterReply, WriterRequest } from './messages.ts'
import type { LogFiles } from '../../segment-files/log-files.ts'
import { isSlice, type ObjectChange } from '../../changes.ts'
import { Reserve } from '../reserve.ts'
import { DatabaseName } from '../open/database-name.ts'
import { storeError } from '../sqlite-errors.ts'
import { Guard } from './guard.ts'
import { collectWhenIdle } from '../../gc-pacing.ts'
import { decodeTransaction } from './wire.ts'

const { directory, name: firstName, fd, compression, key, keepsOpen } = workerData as WriterData
/** Changes when another process renames the database. */
const name = new DatabaseName(directory, firstName)
/** SQLite's page cache, for the index pages that a commit changes. */
const CACHE_KIB = 4096
const BUSY_TIMEOUT_MS = 1000
/** A process that has the database open for longer than this keeps it open, and holds the reserve. */
const RESERVE_AFTER_MS = 1000

type Port = NonNullable<typeof parentPort>

/** The result of a request, besides what every reply contains. */
type Done = Pick<Extract<WriterReply, { kind: 'done' }>, 'packed' | 'spilled'>

/** The open database and its writers. */
interface Opened extends Writers {
  readonly db: Database.Database
  readonly checkpoints: Checkpoints
  readonly files: LogFiles
  readonly guard: Guard
  readonly reserve: Reserve
  readonly reserveTimer: NodeJS.Timeout
}

function main(port: Port): void {
  const reply = (message: WriterReply): void => port.postMessage(message)
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work()
    } catch (error) {
      reply({ kind: 'error', error: toWire(storeError(error, name.held)) })
    }
  }
  void attempt(async () => {
    const opened = await open()
    const done = (result: Done = {}): void => reply(answerOf(opened, result))
    done()
    let last = Promise.resolve()
    const worked = collectWhenIdle()
    port.on('message', (request: WriterRequest) => {
      last = last
        .then(() => attempt(() => serve(opened, request, port, done)))
        .then(() => {
          free(request)
          worked()
        })
    })
  })
}

async function open(): Promise<Opened> {
  const db = new Database(sqliteName(name.held), { fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = FULL')
  db.pragma(`cache_size = -${CACHE_KIB}`)
  const checkpoints = new Checkpoints(db)
  // Makes durable what an earlier process wrote to the WAL but did not sync.
  checkpoints.truncate()
  const files = logFilesOf(db, 'write', undefined, () => name.held)
  const guard = new Guard(name, fd, db, files, checkpoints)
  const writers = await openWriters(db, files, checkpoints, () => guard.beforeChange(), compression, key)
  const reserve = new Reserve(
    () => name.held,
    () => fstatSync(fd),
    () => name.leadsTo(fd),
  )
  if (keepsOpen) reserve.holdOnAmpleDisk()
  reserve.hold()
  return { db, checkpoints, files, guard, reserve, reserveTimer: holdLater(reserve), ...writers }
}

const holdLater = (reserve: Reserve): NodeJS.Timeout =>
  setTimeout(() => {
    reserve.holdOnAmpleDisk()
    reserve.hold()
  }, RESERVE_AFTER_MS)

const answerOf = ({ committer, checkpoints }: Opened, result: Done): WriterReply => ({
  kind: 'done',
  lastTid: committer.lastTid,
  nextOid: committer.nextOid,
  directory: name.directory,
  name: name.name,
  stats: {
    commits: committer.commits,
    committedBytes: committer.committedBytes,
    checkpoints: checkpoints.count,
    checkpointFailure: checkpoints.failure,
  },
  ...result,
})

/** Makes a change that adds `bytes`; if the disk is full, repeats it in the space of the reserve. */
async function change<T>(
  { guard, checkpoints, reserve }: Opened,
  bytes: number,
  make: () => Awaitable<T>,
): Promise<T> {
  const { freeBytes } = reserve
  try {
    guard.beforeChange()
    return await make()
  } catch (error) {
    const isFull = storeError(error, name.held) instanceof NoSpaceError
    if (!isFull || !reserve.admits(bytes, freeBytes) || !reserve.giveUp()) throw error
    try {
      // The WAL is then written from its beginning again, and needs no more space.
      checkpoints.tryFlush()
      guard.beforeChange()
      const made = await make()
      checkpoints.tryFlush()
      return made
    } finally {
      reserve.hold()
    }
  }
}

/** Answers before the checkpoint that follows: the caller does not wait for it. */
async function serve(
  opened: Opened,
  request: WriterRequest,
  port: Port,
  done: (result?: Done) => void,
): Promise<void> {
  const { committer, packWriter, guard, checkpoints, reserve } = opened
  switch (request.kind) {
    case 'commit': {
      const transaction = decodeTransaction(request.transaction)
      const bytes = bytesOf(transaction.changes)
      await change(opened, bytes, () => committer.commit(transaction, request.nextOid))
      done()
      checkpoints.afterCommit()
      break
    }
    case 'spill': {
      guard.beforeChange()
      const { changes, tid } = decodeTransaction(request.transaction)
      done({ spilled: await committer.spill(changes, request.nextOid, tid) })
      checkpoints.afterCommit()
      break
    }
    case 'drop spilled':
      // If it fails, the next transaction tries again.
      await change(opened, 0, () => committer.dropSpilled()).catch(() => undefined)
      done()
      checkpoints.afterCommit()
      break
    case 'pack':
      done({ packed: await change(opened, 0, () => packWriter.run(request.step)) })
      checkpoints.afterPackStep()
      break
    case 'follow':
      guard.follow()
      done()
      break
    case 'store unnamed':
      guard.storeUnnamed(request.isAllowed)
      // What is in the WAL goes into the database file: fewer bytes have to be saved.
      if (!request.isAllowed) checkpoints.tryFlush()
      done()
      break
    case 'close':
      guard.close()
      opened.files.close()
      close(opened.db, checkpoints)
      clearTimeout(opened.reserveTimer)
      // Last, as it may remove the directory, which the others check.
      reserve.close()
      done()
      port.close()
      return
    default:
      request satisfies never
  }
  reserve.hold()
}

/**
 * Frees what was copied of a transaction that was stored or given up: the garbage collection of this thread would do so tens of megabytes
 * later.
 */
function free(request: WriterRequest): void {
  if ('transaction' in request) request.transaction.copied.transfer(0)
}

/** The bytes that changes add, without shared ones. */
function bytesOf(changes: readonly ObjectChange[]): number {
  let bytes = 0
  for (const { record } of changes) {
    if (record === null) continue
    bytes += record.head.length + (record.tail?.length ?? 0)
    if (record.body === undefined || isSlice(record.body)) continue
    for (const part of record.body) bytes += part.length
  }
  return bytes
}

function close(db: Database.Database, checkpoints: Checkpoints): void {
  try {
    checkpoints.truncate()
  } catch {
    // Nothing is lost: what cannot be copied (a full disk) stays in the WAL, where the next open finds it.
  }
  db.close()
}

if (parentPort !== null) main(parentPort)
