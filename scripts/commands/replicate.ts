/** `zblkfs replicate SRC TARGET`: keeps a standby, on this machine or another, that lags by seconds. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import type { Received } from '../../core/database/stream-options.ts'
import { lastReceived, send } from '../../core/database/streams.ts'
import { printable } from '../../core/printable.ts'
import { DURATION_FORMS, parseDurationMs } from '../../store/durations.ts'
import { CodedError, type ErrorCode } from '../../store/errors.ts'
import { explain } from '../advice.ts'
import { UsageError } from '../failure.ts'
import { count } from '../foreign/count.ts'
import { Standby } from '../replicate/standby.ts'
import { say, warn } from '../say.ts'
import { syncTarget } from '../sync-target.ts'
import { findTarget } from '../target.ts'
import { formatBytes } from '../units.ts'

interface Options {
  readonly every?: string
  readonly ssh?: string
  readonly remoteCommand?: string
  readonly pack: boolean
  readonly json?: boolean
}

/** Refusals that repetition does not help against. Anything else may pass: a connection, a lock, a full disk. */
const FINAL: ReadonlySet<ErrorCode> = new Set([
  'usage',
  'other-database',
  'diverged',
  'history-dropped',
  'no-transaction',
  'not-a-database',
  'newer-format',
  'older-format',
  'damaged',
  'corrupt-record',
])

const NOTES = `
TARGET is a database file, postgres://USER@HOST/NAME, or ssh://[USER@]HOST[:PORT]/PATH (/~/PATH in the home directory) on a machine that has
zblkfs, for ssh without a password. Only what has changed is sent. A mount of the standby with -o ro follows. Either end may be killed at any time:
start the command again, it continues. If the standby was changed, the command ends and says so.`

export function replicateCommand(): Command {
  return new Command('replicate')
    .description('Keep a copy of a database up to date, on this machine or another.')
    .argument('<src>', 'the database, or a mount of it; it may be in use')
    .argument('<target>', 'the standby: a database file, or ssh://HOST/PATH')
    .option('--every <time>', 'repeat with this interval: 10s, 5m, ... (default: once)')
    .option('--ssh <command>', "in place of 'ssh -o BatchMode=yes'")
    .option('--remote-command <command>', 'the command on the other machine (default: zblkfs)')
    .option('--no-pack', 'let the standby keep history that the source has dropped')
    .option('--json', 'a line of JSON for each time that something was sent')
    .addHelpText('after', NOTES)
    .action(replicate)
}

async function replicate(place: string, target: string, options: Options): Promise<void> {
  const everyMs = options.every === undefined ? undefined : parseDurationMs(options.every)
  if (options.every !== undefined && (everyMs === undefined || everyMs === 0))
    throw new UsageError(`--every ${options.every} is not an interval: write ${DURATION_FORMS}`)
  const ended = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => ended.abort())
  const { signal } = ended
  const standby = new Standby(target, options)
  try {
    // The database of a mount, which may be unmounted meanwhile.
    const { database } = await findTarget(place)
    const replication = new Replication(database, standby, options.json === true, signal)
    // A mistyped target is an error, and not a reason to wait.
    const isSent = await replication.round()
    if (everyMs === undefined) {
      if (!isSent && options.json !== true) say(`${printable(target)} has everything already`)
      return
    }
    for (;;) {
      await sleep(everyMs, undefined, { signal })
      await replication.roundIfPossible()
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}

class Replication {
  readonly #database: string
  readonly #standby: Standby
  readonly #isJson: boolean
  readonly #signal: AbortSignal
  /** The last transaction of the standby; null if it has none, undefined if it is not known: at first, and after a failure. */
  #last: string | null | undefined
  /** Whether the standby lacks bytes that the next stream must repeat. */
  #isSelfContained = false
  #warning = ''

  constructor(database: string, standby: Standby, isJson: boolean, signal: AbortSignal) {
    this.#database = database
    this.#standby = standby
    this.#isJson = isJson
    this.#signal = signal
  }

  /** As {@link Replication.round}; a failure that may pass is a warning, once. @throws CodedError */
  async roundIfPossible(): Promise<void> {
    try {
      await this.round()
      this.#warning = ''
    } catch (error) {
      if (this.#signal.aborted || !(error instanceof CodedError) || FINAL.has(error.code)) throw error
      this.#warn(`${explain(error)}; trying again`)
    }
  }

  /** Sends what has changed; resolves to whether there was something. @throws CodedError */
  async round(): Promise<boolean> {
    const startedMs = performance.now()
    const source = await findTarget(this.#database)
    try {
      await syncTarget(source)
    } catch (error) {
      // What is stored can still be sent.
      if (!(error instanceof CodedError)) throw error
      this.#warn(error.message)
    }
    const newest = await lastReceived(source.database)
    const last = this.#last === undefined ? await this.#standby.last(this.#signal) : this.#last
    this.#last = last
    if (newest === undefined || newest === last) return false
    this.#last = undefined
    const range = { selfContained: this.#isSelfContained, ...(last !== null && { from: last }) }
    const stream = send(source.database, { ...range, signal: this.#signal })
    try {
      const received = await this.#standby.receive(stream, this.#signal)
      this.#isSelfContained = false
      this.#last = received.tid
      this.#report(received, performance.now() - startedMs)
    } catch (error) {
      if (this.#isSelfContained || !(error instanceof CodedError) || error.code !== 'bytes-dropped')
        throw error
      this.#isSelfContained = true
      return await this.round()
    }
    return true
  }

  #report(received: Received, durationMs: number): void {
    const { transactions, bytes, tid } = received
    const seconds = (durationMs / 1000).toFixed(1)
    if (this.#isJson) console.log(JSON.stringify({ ...received, seconds: Number(seconds) }))
    else say(`${tid}  ${count(transactions, 'transaction')}, ${formatBytes(bytes)}, ${seconds} s`)
  }

  #warn(message: string): void {
    if (message !== this.#warning) warn(message)
    this.#warning = message
  }
}
