/** The pace of a pack: how long it rests, and how often it reports progress. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { PackPhase, PackProgress } from '../../capabilities.ts'

const PROGRESS_MS = 100
/** Work between two rests. */
const WORK_MS = 10

export class Pacing {
  readonly #rest: number
  readonly #report: (progress: PackProgress) => void
  #workingSince = performance.now()
  #reportedAt = 0

  /** @param rest how long to rest after each piece of work, as a multiple of the time that it took. */
  constructor(rest: number, report: (progress: PackProgress) => void) {
    this.#rest = rest
    this.#report = report
  }

  progress(phase: PackPhase, done: number, total: number): void {
    const now = performance.now()
    if (now - this.#reportedAt < PROGRESS_MS && done < total) return
    this.#reportedAt = now
    this.#report({ phase, done, total })
  }

  /** Rests once {@link WORK_MS} have passed since the last rest. */
  pause(): Promise<void> | undefined {
    const workedMs = performance.now() - this.#workingSince
    if (this.#rest === 0 || workedMs < WORK_MS) return undefined
    return sleep(workedMs * this.#rest).then(() => {
      this.#workingSince = performance.now()
    })
  }
}
