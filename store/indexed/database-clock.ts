/**
 * The clock of a database: assigns tids, and detects jumps of the system's clock (timeline.ts).
 *
 * The system's clock is compared with the time since boot, which includes suspension and cannot be set. A
 * **sample** of both is kept in the database, so that a jump between two processes is detected too, unless the machine was booted in
 * between. A last transaction in the future always means a jump: the clock was ahead when it was made.
 */
import { readFileSync } from 'node:fs'
import type { Dating } from '../capabilities.ts'
import { parseTid, formatTid, type Tid } from '../ids.ts'
import { Timeline, type ClockJump } from '../timeline.ts'
import type { Notes } from './retaining.ts'

/** The names of the notes. */
export const CLOCK_JUMPS = 'clock jumps'
const SAMPLE = 'clock sample'

/** Drift of the clock that does not count as a jump: a constant, and a fraction of the elapsed time. */
const TOLERANCE_MS = 60_000
const TOLERANCE_PART = 0.01
/** Maximum age of the sample while commits are made. */
const SAMPLE_INTERVAL_MS = 60_000
/** Maximum number of recorded jumps; older ones are dropped. */
const JUMPS_MAX = 32

/** Readings of both clocks of a machine. */
export interface ClockSample {
  /** Since 1970. */
  readonly wallMs: number
  /** Since the machine was booted. */
  readonly upMs: number
  /** Identifies one boot of the machine. */
  readonly boot: string
}

/** Undefined if the machine does not report its uptime. */
export type ReadClock = () => ClockSample | undefined

let bootId: string | undefined

function readSystemClock(): ClockSample | undefined {
  try {
    const upMs = Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * 1000
    bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return Number.isFinite(upMs) ? { wallMs: Date.now(), upMs, boot: bootId } : undefined
  } catch {
    return undefined
  }
}

interface DatedStore extends Notes {
  readonly readOnly: boolean
  lastTid(): Promise<Tid>
}

export class DatabaseClock implements Dating {
  readonly #store: DatedStore
  readonly #read: ReadClock
  #jumps: readonly ClockJump[] | undefined
  #sample: ClockSample | undefined
  /** Time of the last write of the sample, or of the first sample, by `upMs`. */
  #writtenUpMs: number | undefined
  /** The last assigned tid. */
  #given: Tid | undefined

  constructor(store: DatedStore, read: ReadClock = readSystemClock) {
    this.#store = store
    this.#read = read
  }

  async timeline(): Promise<Timeline> {
    const last = await this.#store.lastTid()
    return await this.#upToDate(last)
  }

  /** The tid of a new transaction, later than `last` and than every assigned tid. */
  async nextTid(last: Tid): Promise<Tid> {
    const timeline = await this.#upToDate(later(last, this.#given))
    const tid = timeline.nextTid(Date.now(), later(last, this.#given))
    this.#given = tid
    await this.#keepSample()
    return tid
  }

  /** From now on every assigned tid is later than `tid`. */
  pass(tid: Tid): void {
    this.#given = later(tid, this.#given)
  }

  async #upToDate(last: Tid): Promise<Timeline> {
    // On a reader, the writer changes the notes.
    if (this.#jumps === undefined || this.#store.readOnly) await this.#load()
    const jumps = this.#jumps ?? []
    const now = this.#read()
    const jump = jumpBetween(this.#sample, now, new Timeline(jumps), last)
    this.#sample = now ?? this.#sample
    if (jump === undefined) return new Timeline(jumps)
    const all = [...jumps, jump].slice(-JUMPS_MAX)
    this.#jumps = all
    if (!this.#store.readOnly) await this.#write(CLOCK_JUMPS, all.map(formatJump).join('\n'))
    await this.#keepSample(true)
    return new Timeline(all)
  }

  async #load(): Promise<void> {
    const [jumps, sample] = [await this.#store.note(CLOCK_JUMPS), await this.#store.note(SAMPLE)]
    this.#jumps = (jumps ?? '').split('\n').flatMap(line => parseJump(line) ?? [])
    this.#sample ??= sample === undefined ? undefined : parseSample(sample)
  }

  async #keepSample(isDue = false): Promise<void> {
    const sample = this.#sample
    if (sample === undefined || this.#store.readOnly) return
    this.#writtenUpMs ??= sample.upMs
    if (!isDue && sample.upMs - this.#writtenUpMs < SAMPLE_INTERVAL_MS) return
    this.#writtenUpMs = sample.upMs
    await this.#write(SAMPLE, `${sample.boot} ${sample.upMs} ${sample.wallMs}`)
  }

  /** A failure to write a note does not fail the commit: the commit reports the cause itself. */
  async #write(name: string, value: string): Promise<void> {
    await this.#store.setNote(name, value).catch(() => undefined)
  }
}

const later = (one: Tid, other: Tid | undefined): Tid => (other !== undefined && other > one ? other : one)

/** The jump of the clock since a sample, or since the last transaction. */
function jumpBetween(
  sample: ClockSample | undefined,
  now: ClockSample | undefined,
  timeline: Timeline,
  last: Tid,
): ClockJump | undefined {
  const afterMs = now?.wallMs ?? Date.now()
  if (sample !== undefined && now !== undefined && sample.boot === now.boot) {
    const passedMs = now.upMs - sample.upMs
    const beforeMs = sample.wallMs + passedMs
    if (Math.abs(afterMs - beforeMs) > TOLERANCE_MS + TOLERANCE_PART * passedMs)
      return { tid: last, beforeMs, afterMs }
  }
  // A jump since the last transaction explains a tid in the future.
  if (timeline.jumps.at(-1)?.tid === last) return undefined
  const madeMs = timeline.timeOf(last)
  return madeMs > afterMs + TOLERANCE_MS ? { tid: last, beforeMs: madeMs, afterMs } : undefined
}

const formatJump = ({ tid, beforeMs, afterMs }: ClockJump): string =>
  `${formatTid(tid)} ${beforeMs} ${afterMs}`

function parseJump(line: string): ClockJump | undefined {
  const [tidText = '', before, after] = line.split(' ')
  const tid = parseTid(tidText)
  const [beforeMs, afterMs] = [Number(before), Number(after)]
  return tid === undefined || !Number.isFinite(beforeMs) || !Number.isFinite(afterMs)
    ? undefined
    : { tid, beforeMs, afterMs }
}

function parseSample(text: string): ClockSample | undefined {
  const [boot = '', up, wall] = text.split(' ')
  const [upMs, wallMs] = [Number(up), Number(wall)]
  return Number.isFinite(upMs) && Number.isFinite(wallMs) ? { boot, upMs, wallMs } : undefined
}
