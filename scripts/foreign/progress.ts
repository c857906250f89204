/** A progress bar for work that is counted in bytes; on a terminal only. */
import { SingleBar } from 'cli-progress'
import { formatBytes } from '../units.ts'

export class ByteProgress {
  #bar: SingleBar | undefined
  #phase: string | undefined
  #done = 0

  /** More of a phase is done; another phase begins a bar of its own, of `total` bytes. */
  add(phase: string, bytes: number, total: number): void {
    if (!process.stderr.isTTY) return
    if (phase !== this.#phase) {
      this.stop()
      this.#phase = phase
      this.#done = 0
      this.#bar = new SingleBar({
        format: `${phase} [{bar}] {percentage}% of ${formatBytes(total)}, {eta_formatted} left`,
        hideCursor: true,
      })
      this.#bar.start(total, 0)
    }
    this.#done += bytes
    this.#bar?.update(Math.min(this.#done, total))
  }

  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
  }
}
