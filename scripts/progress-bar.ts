/** A progress bar with rate and remaining time on standard error, if that is a terminal. */
import { Presets, SingleBar } from 'cli-progress'

const UPDATE_MS = 100

export class ProgressBar {
  #bar: SingleBar | undefined
  #what = ''
  #startedMs = 0
  #updatedMs = 0

  /** `done` of `total`; 0: unknown; 1: a single step. A new `what` begins a new bar. */
  update(what: string, done: number, total: number): void {
    if (!process.stderr.isTTY) return
    const nowMs = Date.now()
    const isNew = what !== this.#what
    if (!isNew && nowMs - this.#updatedMs < UPDATE_MS) return
    this.#updatedMs = nowMs
    if (isNew) {
      this.stop()
      this.#what = what
      this.#startedMs = nowMs
      const counted =
        total > 1 ? '{bar} {percentage}% | {rate}/s | {eta_formatted} left' : '{value} | {rate}/s'
      const format = total === 1 ? ' {what} ...' : ` ${counted} | {what}`
      this.#bar = new SingleBar({ format, clearOnComplete: true, hideCursor: true }, Presets.shades_classic)
      this.#bar.start(Math.max(total, 1), 0, { rate: 0, what })
    }
    const seconds = (nowMs - this.#startedMs) / 1000
    this.#bar?.setTotal(Math.max(total, done, 1))
    this.#bar?.update(done, { rate: seconds > 0 ? Math.round(done / seconds) : 0, what })
  }

  /** Prints a line, above the bar if there is one. */
  print(line: string): void {
    this.stop()
    console.log(line)
  }

  /** Removes the bar. */
  stop(): void {
    this.#bar?.stop()
    this.#bar = undefined
    this.#what = ''
  }
}
