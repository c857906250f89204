/** Samples a working daemon's resources: memory, descriptors, and disk space. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'

/** The unit of st_blocks. */
const BLOCK_BYTES = 512

export interface Sample {
  /** Time since the first sample. */
  readonly timeMs: number
  readonly residentBytes: number
  readonly descriptors: number
  /** Size of the database, its log and its WAL. */
  readonly fileBytes: number
}

/** Minimum, median and maximum. */
export type Spread = readonly [number, number, number]

/** The samples of one daemon, from mount to exit. */
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

  /** Fails if the process has ended; the sample is then skipped. */
  async #take(): Promise<void> {
    const [status, descriptors, fileBytes] = await Promise.all([
      readFile(`/proc/${this.#pid}/status`, 'latin1'),
      readdir(`/proc/${this.#pid}/fd`),
      databaseBytes(this.#database),
    ])
    this.#samples.push({
      timeMs: Math.round(performance.now() - this.#startMs),
      residentBytes: 1024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]),
      descriptors: descriptors.length,
      fileBytes,
    })
  }
}

/** Bytes that a database takes on disk: its file, its WAL, and its log without the holes in it. */
export async function databaseBytes(path: string): Promise<number> {
  const log = await readdir(`${path}-log`)
  const files = [path, `${path}-wal`, ...log.map(name => join(`${path}-log`, name))]
  const sizes = await Promise.all(
    files.map(file =>
      stat(file).then(
        ({ blocks }) => blocks * BLOCK_BYTES,
        () => 0,
      ),
    ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  return [sorted[0] ?? 0, sorted[sorted.length >> 1] ?? 0, sorted.at(-1) ?? 0]
}

/**
 * The spread in the second and in the last third of the samples. Caches fill in the first third. A flat
 * series has equal spreads.
 */
export function thirdsOf(
  samples: readonly Sample[],
  value: (sample: Sample) => number,
): readonly [Spread, Spread] {
  const third = Math.floor(samples.length / 3)
  return [spreadOf(samples.slice(third, 2 * third).map(value)), spreadOf(samples.slice(2 * third).map(value))]
}
