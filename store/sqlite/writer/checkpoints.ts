/**
 * Keeps the WAL short. SQLite's own checkpoints would run inside a commit and count pages; these run after it, when
 * it has already been answered.
 *
 * A PASSIVE checkpoint copies what it can and does not wait. Once it has copied the whole WAL and no reader uses it, the
 * next commit restarts the WAL. Overlapping readers can prevent that for a long time; beyond {@link RESTART_BYTES} a
 * RESTART checkpoint waits for them briefly, which delays writers but not readers.
 */
import { messageOf } from '../../errors.ts'
import type { Database } from 'better-sqlite3'
import { PAGE_BYTES } from '../schema.ts'

const PASSIVE_BYTES = 4 << 20
const PACK_BYTES = 2 << 20
const RESTART_BYTES = 16 << 20
/** How long the end of a pack waits for readers of the WAL. */
const FLUSH_TIMEOUT_MS = 50

interface CheckpointRow {
  readonly busy: number
  readonly log: number
  readonly checkpointed: number
}

export class Checkpoints {
  readonly #db: Database
  #count = 0
  #failure: string | undefined
  /** Number of WAL frames that the last checkpoint had copied. */
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

  /** Call after each commit. Never throws: whatever could not be copied is safe in the WAL. */
  afterCommit(): void {
    this.#passive(PASSIVE_BYTES)
  }

  /** Call after each step of a pack. Copies smaller pieces, as commits wait for them. */
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
      this.#failure = messageOf(error)
    }
  }

  /** Copies everything into the database and truncates the WAL. */
  truncate(): void {
    this.#run('TRUNCATE')
    this.#copied = 0
  }

  /** As {@link Checkpoints.truncate}, but waits only briefly for readers, and copies what it can. */
  flush(): void {
    const timeoutMs = Number(this.#db.pragma('busy_timeout', { simple: true }))
    this.#db.pragma(`busy_timeout = ${FLUSH_TIMEOUT_MS}`)
    try {
      this.truncate()
    } finally {
      this.#db.pragma(`busy_timeout = ${timeoutMs}`)
    }
  }

  /** As {@link Checkpoints.flush}; what cannot be copied stays in the WAL. */
  tryFlush(): void {
    try {
      this.flush()
    } catch (error) {
      this.#failure = messageOf(error)
    }
  }

  #run(mode: 'NOOP' | 'PASSIVE' | 'RESTART' | 'TRUNCATE'): CheckpointRow {
    const [row] = this.#db.pragma(`wal_checkpoint(${mode})`) as [CheckpointRow]
    return row
  }
}
