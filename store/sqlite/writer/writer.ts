/** The worker thread that owns the writable connection. Its other end is writer-client.ts. */
import { toWire } from '../../errors.ts'
import { parentPort, workerData } from 'node:worker_threads'
import Database from 'better-sqlite3'
import { Checkpoints } from './checkpoints.ts'
import { openWriters } from './open-writers.ts'
import { logFilesOf } from '../log.ts'
import { type WriterData, type WriterReply, type WriterRequest } from './messages.ts'
import type { PackStepResult } from '../../indexed/pack/pack-steps.ts'
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
        guard.beforeChange()
        await committer.commit(decodeTransaction(request.transaction), request.nextOid)
        done()
        checkpoints.afterCommit()
      } else if (request.kind === 'spill') {
        guard.beforeChange()
        const { changes } = decodeTransaction(request.transaction)
        done({ spilled: await committer.spill(changes, request.nextOid) })
        checkpoints.afterCommit()
      } else if (request.kind === 'drop spilled') {
        guard.beforeChange()
        await committer.dropSpilled()
        done()
        checkpoints.afterCommit()
      } else if (request.kind === 'pack') {
        guard.beforeChange()
        done({ packed: await packWriter.run(request.step) })
        checkpoints.afterPackStep()
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

function close(db: Database.Database, checkpoints: Checkpoints): void {
  try {
    checkpoints.truncate()
  } catch {
    // Nothing is lost: what cannot be copied (a full disk) stays in the WAL, where the next open finds it.
  }
  db.close()
}

if (parentPort !== null) main(parentPort)
