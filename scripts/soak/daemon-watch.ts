/** What a daemon takes while it works, looked at from time to time: memory, descriptors, and room on the disk. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { logBytesOnDisk } from '../../store/sqlite/log.ts'

export interface Sample {
  /** Since the first. */
  readonly timeMs: number
  readonly residentBytes: number
  readonly descriptors: number
  /** The database, its log and its WAL. */
  readonly fileBytes: number
}

/** Smallest, in the middle, and largest. */
export type Spread = readonly [number, number, number]

/** One daemon's life, from its mount to its end. */
export class DaemonWatch {
  readonly #pid: number
  readonly #database: string
  readonly #samples: Sample[] = []
  readonly #startMs = performance.now()
  readonly #timer: NodeJS.Timeout

  constructor(pid: number, database: string, intervalMs: number) {
    this.#pid = pid
    this.#database = database
    this.#timer = setInterval(() => void this.#take().catch(() => undefined), intervalMs)
  }

  get samples(): readonly Sample[] {
    return this.#samples
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** Fails where the process is gone; then there is nothing to note. */
  async #take(): Promise<void> {
    const [status, descriptors, file, wal] = await Promise.all([
      readFile(`/proc/${this.#pid}/status`, 'latin1'),
      readdir(`/proc/${this.#pid}/fd`),
      bytesOf(this.#database),
      bytesOf(`${this.#database}-wal`),
    ])
    this.#samples.push({
      timeMs: Math.round(performance.now() - this.#startMs),
      residentBytes: 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]),
      descriptors: descriptors.length,
      fileBytes: file + wal + logBytesOnDisk(this.#database),
    })
  }
}

/** 0 if there is none. */
export async function bytesOf(path: string): Promise<number> {
  return await stat(path).then(
    ({ size }) => size,
    () => 0,
  )
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  return [sorted[0] ?? 0, sorted[sorted.length >> 1] ?? 0, sorted.at(-1) ?? 0]
}

/**
 * How something went on: the spread in the second and in the last third of the samples. The first third is for caches
 * to fill. What is flat has the same in both.
 */
export function thirdsOf(
  samples: readonly Sample[],
  value: (sample: Sample) => number,
): readonly [Spread, Spread] {
  const third = Math.floor(samples.length / 3)
  return [spreadOf(samples.slice(third, 2 * third).map(value)), spreadOf(samples.slice(2 * third).map(value))]
}
