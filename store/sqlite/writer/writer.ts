/** The worker thread that owns the writable connection. Its other end is writer-client.ts. */
import { fstatSync } from 'node:fs'
import { NoSpaceError, toWire } from '../../errors.ts'
import { parentPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { Checkpoints } from './checkpoints.ts'
import { openWriters } from './open-writers.ts'
import { logFilesOf } from '../log.ts'
import { type WriterData, type WriterReply, type WriterRequest } from './messages.ts'
import type { PackStepResult } from '../../indexed/pack/pack-steps.ts'
import { isSlice, type ObjectChange } from '../../changes.ts'
import { Reserve } from '../reserve.ts'
import { storeError } from '../sqlite-errors.ts'
import { Guard } from './guard.ts'
import { decodeTransaction } from './wire.ts'

const { path, fd } = workerData as WriterData
/** SQLite's page cache, for the index pages that a commit changes. */
const CACHE_KIB = 4096
const BUSY_TIMEOUT_MS = 1000

function main(port: NonNullable<typeof parentPort>): void {
  const reply = (message: WriterReply): void => port.postMessage(message)
  const attempt = async (work: () => void | Promise<void>): Promise<void> => {
    try {
      await work()
    } catch (error) {
      reply({ kind: 'error', error: toWire(storeError(error, path)) })
    }
  }
  void attempt(async () => {
    const db = new Database(path, { fileMustExist: true, timeout: BUSY_TIMEOUT_MS })
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = FULL')
    db.pragma(`cache_size = -${CACHE_KIB}`)
    const checkpoints = new Checkpoints(db)
    // Makes durable what an earlier process wrote to the WAL but did not sync.
    checkpoints.truncate()
    const files = logFilesOf(db, 'write')
    const guard = new Guard(path, fd, db, files, checkpoints)
    const { committer, packWriter } = await openWriters(db, files, checkpoints)
    const reserve = new Reserve(path, () => fstatSync(fd))
    reserve.hold()
    /** Makes a change that adds `bytes`; where the disk is full, it is repeated in the room of the reserve. */
    const change = async <T>(bytes: number, make: () => T | Promise<T>): Promise<T> => {
      try {
        guard.beforeChange()
        return await make()
      } catch (error) {
        const isFull = storeError(error, path) instanceof NoSpaceError
        if (!isFull || bytes > reserve.usableBytes || !reserve.giveUp()) throw error
        try {
          // The WAL is written from its beginning again, in place of more room.
          checkpoints.trySettle()
          guard.beforeChange()
          const made = await make()
          checkpoints.trySettle()
          return made
        } finally {
          reserve.hold()
        }
      }
    }
    const done = (result: { readonly packed?: PackStepResult; readonly spilled?: bigint } = {}): void =>
      reply({
        kind: 'done',
        lastTid: committer.lastTid,
        nextOid: committer.nextOid,
        stats: {
          commits: committer.commits,
          committedBytes: committer.committedBytes,
          checkpoints: checkpoints.count,
          checkpointFailure: checkpoints.failure,
        },
        ...result,
      })
    done()
    const serve = async (request: WriterRequest): Promise<void> => {
      if (request.kind === 'commit') {
        const transaction = decodeTransaction(request.transaction)
        await change(bytesOf(transaction.changes), () => committer.commit(transaction, request.nextOid))
        done()
        checkpoints.afterCommit()
        reserve.hold()
      } else if (request.kind === 'spill') {
        guard.beforeChange()
        const { changes } = decodeTransaction(request.transaction)
        done({ spilled: await committer.spill(changes, request.nextOid) })
        checkpoints.afterCommit()
        reserve.hold()
      } else if (request.kind === 'drop spilled') {
        await change(0, () => committer.dropSpilled())
        done()
        checkpoints.afterCommit()
        reserve.hold()
      } else if (request.kind === 'pack') {
        done({ packed: await change(0, () => packWriter.run(request.step)) })
        checkpoints.afterPackStep()
        reserve.hold()
      } else {
        guard.close()
        files.close()
        close(db, checkpoints)
        done()
        port.close()
      }
    }
    let last = Promise.resolve()
    port.on('message', (request: WriterRequest) => {
      last = last.then(() => attempt(() => serve(request)))
    })
  })
}

/** The bytes that changes add, shared ones left out. */
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
