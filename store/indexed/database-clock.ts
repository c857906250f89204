/**
 * The clock of a database: assigns tids, and detects jumps of the system's clock (timeline.ts).
 *
 * The system's clock is compared with the time since boot, which includes suspension and cannot be set. A
 * **sample** of both is kept in the database, so that a jump between two processes is detected too.
 *
 * Only the clock says how long a machine was off. After a boot
 *
 * - a clock that is behind the last sample, or the last transaction, was set back;
 * - a jump within an hour is a **correction**: the clock was wrong since the boot, and right before it. So is a later one if the
 *   clock before it contradicts the last sample, and that after it does not;
 * - a long time off is in **doubt** until the kernel says that the clock is synchronised, or a day has passed: a pack drops nothing
 *   that it would keep if the machine had been off for no time.
 */
import { readFileSync } from '../os-files.ts'
import type { Dating } from '../capabilities.ts'
import { parseTid, formatTid, type Tid } from '../ids.ts'
import { isClockSynchronised } from '../synchronised-clock.ts'
import { Timeline, type ClockJump } from '../timeline.ts'
import type { Notes } from './retaining.ts'

/** The names of the notes. */
export const CLOCK_JUMPS = 'clock jumps'
export const SAMPLE = 'clock sample'

/** Drift of the clock that does not count as a jump: a constant, and a fraction of the elapsed time. */
const TOLERANCE_MS = 60_000
const TOLERANCE_PART = 0.01
/** Maximum age of the sample while commits are made. */
const SAMPLE_INTERVAL_MS = 60_000
/** Time since boot within which a jump is a correction. */
const CORRECTION_MS = 3_600_000
/** Time off that is in doubt if it is longer, and time since boot after which it is not any more. */
const DOUBT_MS = 86_400_000
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
  /** Whether the kernel says that the clock is synchronised with another one. */
  readonly isSynchronised?: boolean
}

/** What is known of the time before the machine was booted. */
interface BeforeBoot {
  /** The last transaction. */
  readonly tid: Tid
  /** The last reading of the clock. */
  readonly wallMs: number
  /** The number of jumps. */
  readonly jumps: number
}

/** A sample as it is kept. */
interface KeptSample extends ClockSample {
  /** Undefined if the database was made since. */
  readonly before?: BeforeBoot
}

/** Undefined if the machine does not report its uptime. */
export type ReadClock = () => ClockSample | undefined

let bootId: string | undefined

function readSystemClock(): ClockSample | undefined {
  try {
    const upMs = Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * 1000
    bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return Number.isFinite(upMs)
      ? { wallMs: Date.now(), upMs, boot: bootId, isSynchronised: isClockSynchronised() }
      : undefined
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
  #before: BeforeBoot | undefined
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
    const now = this.#read()
    // On a reader, the writer changes the notes.
    if (this.#jumps === undefined || this.#store.readOnly) await this.#load(last, now)
    const jumps = this.#jumps ?? []
    const found = jumpsAt({ sample: this.#sample, now, before: this.#before, jumps, last })
    const isBooted = wasBooted(this.#sample, now)
    this.#sample = now ?? this.#sample
    if (found !== jumps) {
      this.#jumps = found.slice(-JUMPS_MAX)
      if (!this.#store.readOnly) await this.#write(CLOCK_JUMPS, this.#jumps.map(formatJump).join('\n'))
    }
    if (found !== jumps || isBooted) await this.#keepSample(true)
    return new Timeline(this.#jumps ?? [], doubtOf(this.#before, now, found))
  }

  async #load(last: Tid, now: ClockSample | undefined): Promise<void> {
    const [jumps, text] = [await this.#store.note(CLOCK_JUMPS), await this.#store.note(SAMPLE)]
    this.#jumps = (jumps ?? '').split('\n').flatMap(line => parseJump(line) ?? [])
    const kept = text === undefined ? undefined : parseSample(text)
    this.#sample ??= kept
    if (kept !== undefined && now !== undefined && this.#before === undefined)
      this.#before =
        kept.boot === now.boot ? kept.before : { tid: last, wallMs: kept.wallMs, jumps: this.#jumps.length }
  }

  async #keepSample(isDue = false): Promise<void> {
    const sample = this.#sample
    if (sample === undefined || this.#store.readOnly) return
    this.#writtenUpMs ??= sample.upMs
    if (!isDue && sample.upMs - this.#writtenUpMs < SAMPLE_INTERVAL_MS) return
    this.#writtenUpMs = sample.upMs
    await this.#write(SAMPLE, formatSample({ ...sample, ...(this.#before && { before: this.#before }) }))
  }

  /** A failure to write a note does not fail the commit: the commit reports the cause itself. */
  async #write(name: string, value: string): Promise<void> {
    await this.#store.setNote(name, value).catch(() => undefined)
  }
}

const later = (one: Tid, other: Tid | undefined): Tid => (other !== undefined && other > one ? other : one)

/** Whether the machine was booted since a sample. */
const wasBooted = (sample: ClockSample | undefined, now: ClockSample | undefined): boolean =>
  sample !== undefined && now !== undefined && sample.boot !== now.boot

interface Known {
  readonly sample: ClockSample | undefined
  readonly now: ClockSample | undefined
  readonly before: BeforeBoot | undefined
  readonly jumps: readonly ClockJump[]
  readonly last: Tid
}

/** All jumps up to now: `jumps` itself if there is no other. */
function jumpsAt(known: Known): readonly ClockJump[] {
  const { sample, now, before, jumps, last } = known
  const afterMs = now?.wallMs ?? Date.now()
  if (sample !== undefined && now !== undefined && sample.boot === now.boot) {
    const passedMs = now.upMs - sample.upMs
    const beforeMs = sample.wallMs + passedMs
    if (Math.abs(afterMs - beforeMs) > TOLERANCE_MS + TOLERANCE_PART * passedMs) {
      const jump = { tid: last, beforeMs, afterMs }
      return corrected(known, jump) ?? [...jumps, jump]
    }
  }
  // A jump since the last transaction explains a tid in the future.
  const madeMs = jumps.at(-1)?.tid === last ? 0 : new Timeline(jumps).timeOf(last)
  const beforeMs = wasBooted(sample, now) ? Math.max(madeMs, before?.wallMs ?? 0) : madeMs
  return beforeMs > afterMs + TOLERANCE_MS ? [...jumps, { tid: last, beforeMs, afterMs }] : jumps
}

/**
 * The jumps if the newest one is a correction: at the boot there was a jump by as much in the other direction. If no transaction was
 * made in between, there is neither. Undefined if it is not a correction.
 */
function corrected({ now, before, jumps, last }: Known, jump: ClockJump): readonly ClockJump[] | undefined {
  if (now === undefined || before === undefined) return undefined
  const [earlier, [atBoot, ...later]] = [jumps.slice(0, before.jumps), jumps.slice(before.jumps)]
  if (later.length > 0 || (atBoot !== undefined && atBoot.tid !== before.tid)) return undefined
  const bootMs = now.wallMs - now.upMs
  const correctionMs = jump.afterMs - jump.beforeMs
  const isBefore = (timeMs: number): boolean => timeMs < before.wallMs - TOLERANCE_MS
  if (isBefore(bootMs) || (now.upMs > CORRECTION_MS && !isBefore(bootMs - correctionMs))) return undefined
  if (before.tid === last) return earlier
  const wrongMs = atBoot?.afterMs ?? bootMs - correctionMs
  return [...earlier, { tid: before.tid, beforeMs: wrongMs + correctionMs, afterMs: wrongMs }, jump]
}

/** A jump at the boot that cannot be excluded: the machine was off for no time, and the clock jumped ahead. */
function doubtOf(
  before: BeforeBoot | undefined,
  now: ClockSample | undefined,
  jumps: readonly ClockJump[],
): ClockJump | undefined {
  if (before === undefined || now === undefined || now.isSynchronised === true || now.upMs > DOUBT_MS)
    return undefined
  const afterMs = now.wallMs - now.upMs
  const isExplained = jumps.length > before.jumps
  return isExplained || afterMs - before.wallMs <= DOUBT_MS
    ? undefined
    : { tid: before.tid, beforeMs: before.wallMs, afterMs }
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

const formatSample = ({ boot, upMs, wallMs, before }: KeptSample): string =>
  [
    boot,
    upMs,
    wallMs,
    ...(before === undefined ? [] : [formatTid(before.tid), before.wallMs, before.jumps]),
  ].join(' ')

function parseSample(text: string): KeptSample | undefined {
  const [boot = '', up, wall, tid = '', beforeWall, beforeJumps] = text.split(' ')
  const [upMs, wallMs] = [Number(up), Number(wall)]
  if (!Number.isFinite(upMs) || !Number.isFinite(wallMs)) return undefined
  const before = { tid: parseTid(tid), wallMs: Number(beforeWall), jumps: Number(beforeJumps) }
  return { boot, upMs, wallMs, ...(isKnown(before) && { before }) }
}

const isKnown = (before: Omit<BeforeBoot, 'tid'> & { readonly tid: Tid | undefined }): before is BeforeBoot =>
  before.tid !== undefined && Number.isFinite(before.wallMs) && Number.isInteger(before.jumps)
