/** A progress bar on standard error, if that is a terminal. It is removed when its work ends, so that results stand alone. */
import { createRequire } from 'node:module'
import type CliProgress from 'cli-progress'
import { say } from './say.ts'
import { formatBytes } from './units.ts'

const UPDATE_MS = 100
const MS_PER_S = 1000
const S_PER_MIN = 60
const BAR_WIDTH = 30
/** Time after which the rate is shown: before, it says little about the time left. */
const RATE_AFTER_MS = 1000

/** What is counted: pieces, or bytes. */
export type ProgressUnit = 'count' | 'bytes'

/** The progress of a phase. */
export interface Step {
  readonly what: string
  readonly done: number
  /** 0: unknown; 1: a single step. */
  readonly total: number
  /** What was done before this process began, if the work is resumed. */
  readonly doneBefore: number
  readonly elapsedMs: number
  readonly unit: ProgressUnit
}

/** Loaded for a terminal only: it takes longer to load than a short command takes. */
const load = (): typeof CliProgress => createRequire(import.meta.url)('cli-progress') as typeof CliProgress

/** The signals that end a command, before which the cursor is shown again. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export class ProgressBar {
  readonly #unit: ProgressUnit
  #bar: CliProgress.SingleBar | undefined
  #what = ''
  /** The phase and the sum of {@link ProgressBar.add}. */
  #counted = ''
  #done = 0
  #startedMs = 0
  #startedAt = 0
  #updatedMs = 0

  constructor(unit: ProgressUnit = 'count') {
    this.#unit = unit
  }

  /** More of a phase is done. A new `what` begins a new bar. */
  add(what: string, more: number, total: number): void {
    this.#done = (what === this.#counted ? this.#done : 0) + more
    this.#counted = what
    this.update(what, this.#done, total)
  }

  /** `done` of `total`; 0: unknown; 1: a single step. A new `what` begins a new bar. */
  update(what: string, done: number, total: number, unit = this.#unit): void {
    if (!process.stderr.isTTY) return
    const nowMs = Date.now()
    const isNew = what !== this.#what
    if (!isNew && nowMs - this.#updatedMs < UPDATE_MS) return
    this.#updatedMs = nowMs
    if (isNew) {
      this.stop()
      this.#what = what
      this.#startedMs = nowMs
      this.#startedAt = done
      const { SingleBar } = load()
      this.#bar = new SingleBar({
        format: '{text}',
        clearOnComplete: true,
        hideCursor: true,
        gracefulExit: false,
      })
      this.#bar.start(1, 0, { text: '' })
      for (const signal of SIGNALS) process.once(signal, this.#interrupted)
    }
    const text = progressText({
      what,
      done,
      total,
      doneBefore: this.#startedAt,
      elapsedMs: nowMs - this.#startedMs,
      unit,
    })
    this.#bar?.update(0, { text })
  }

  readonly #interrupted = (signal: NodeJS.Signals): void => {
    this.stop()
    // With a listener the signal has not ended the process.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal)
  }

  /** Prints a line, above the bar if there is one. */
  print(line: string): void {
    this.stop()
    say(line)
  }

  /** Removes the bar. */
  stop(): void {
    for (const signal of SIGNALS) process.off(signal, this.#interrupted)
    this.#bar?.stop()
    this.#bar = undefined
    this.#what = ''
  }
}

/** `copying [=====---------] 33 % of 71 MiB, 12 MiB/s, 4 s left`. */
export function progressText({ what, done, total, doneBefore, elapsedMs, unit }: Step): string {
  if (total === 1) return `${what} ...`
  const amount =
    unit === 'bytes' ? formatBytes : (value: number): string => Math.round(value).toLocaleString('en')
  const perMs = elapsedMs >= RATE_AFTER_MS ? (done - doneBefore) / elapsedMs : 0
  const rate = perMs > 0 ? [`${amount(perMs * MS_PER_S)}/s`] : []
  // An estimate that proves too low says nothing about what is left.
  if (total === 0 || done > total) return [`${what} ${amount(done)}`, ...rate].join(', ')
  const filled = Math.floor((done / total) * BAR_WIDTH)
  const bar = '='.repeat(filled) + '-'.repeat(BAR_WIDTH - filled)
  const left = perMs > 0 ? [`${duration((total - done) / perMs / MS_PER_S)} left`] : []
  return [
    `${what} [${bar}] ${Math.floor((done / total) * 100)} % of ${amount(total)}`,
    ...rate,
    ...left,
  ].join(', ')
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < S_PER_MIN) return `${whole} s`
  const minutes = Math.ceil(seconds / S_PER_MIN)
  return minutes < S_PER_MIN
    ? `${minutes} min`
    : `${Math.floor(minutes / S_PER_MIN)} h ${minutes % S_PER_MIN} min`
}
