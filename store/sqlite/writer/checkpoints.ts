/**
 * Keeps the WAL short. SQLite's own checkpoints would run inside a commit and count pages; these run after it, when
 * its answer is already out.
 *
 * A PASSIVE checkpoint copies what it can and does not wait. When it has copied all of the WAL and no reader
 * is in it, the next commit begins it anew. Readers that take turns can prevent that for long; past
 * {@link RESTART_BYTES} a RESTART waits a moment for them to leave, which delays writers but not readers.
 */
import type { Database } from 'better-sqlite3'
import { PAGE_BYTES } from '../schema.ts'

const PASSIVE_BYTES = 4 << 20
const PACK_BYTES = 2 << 20
const RESTART_BYTES = 16 << 20
/** How long the end of a pack waits for readers to leave the WAL. */
const SETTLE_TIMEOUT_MS = 50

interface CheckpointRow {
  readonly busy: number
  readonly log: number
  readonly checkpointed: number
}

export class Checkpoints {
  readonly #db: Database
  #count = 0
  #failure: string | undefined
  /** Frames of the WAL that the last checkpoint had copied. */
  #copied = 0

  constructor(db: Database) {
    this.#db = db
    db.pragma('wal_autocheckpoint = 0')
    db.pragma(`journal_size_limit = ${RESTART_BYTES}`)
  }

  get count(): number {
    return this.#count
  }

  get failure(): string | undefined {
    return this.#failure
  }

  /** To be called after each commit. Never throws: what could not be copied stays in the WAL, safe. */
  afterCommit(): void {
    this.#passive(PASSIVE_BYTES)
  }

  /** The same after a step of a pack, in smaller pieces: commits wait for them. */
  afterPackStep(): void {
    this.#passive(PACK_BYTES)
  }

  #passive(passiveBytes: number): void {
    try {
      const { log } = this.#run('NOOP')
      if (log < this.#copied) this.#copied = 0
      if ((log - this.#copied) * PAGE_BYTES < passiveBytes) return
      this.#count++
      const { checkpointed } = this.#run(log * PAGE_BYTES < RESTART_BYTES ? 'PASSIVE' : 'RESTART')
      this.#copied = Math.max(0, checkpointed)
      this.#failure = undefined
    } catch (error) {
      this.#failure = error instanceof Error ? error.message : String(error)
    }
  }

  /** Copies everything into the database and empties the WAL. */
  truncate(): void {
    this.#run('TRUNCATE')
    this.#copied = 0
  }

  /** The same where no reader is in the way for long; else as far as it goes. */
  settle(): void {
    const timeoutMs = Number(this.#db.pragma('busy_timeout', { simple: true }))
    this.#db.pragma(`busy_timeout = ${SETTLE_TIMEOUT_MS}`)
    try {
      this.truncate()
    } finally {
      this.#db.pragma(`busy_timeout = ${timeoutMs}`)
    }
  }

  #run(mode: 'NOOP' | 'PASSIVE' | 'RESTART' | 'TRUNCATE'): CheckpointRow {
    const [row] = this.#db.pragma(`wal_checkpoint(${mode})`) as [CheckpointRow]
    return row
  }
}
