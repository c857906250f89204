/** `zblkfs top [DIR]`: what a mount does, second by second. */
import { Command } from 'commander'
import { emitKeypressEvents } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MountedDirectory } from '../../mount/mount-points/mount-table.ts'
import type { MountStats } from '../../mount/daemon/mount-stats.ts'
import { parseDurationMs } from '../../store/durations.ts'
import { UsageError } from '../failure.ts'
import { ALIVE_TIMEOUT_MS, callMount } from '../find-mount.ts'
import { ratesBetween } from '../monitor/rates.ts'
import { plainHeader, plainLine, screenLines, type View } from '../monitor/screen.ts'
import { mountOf } from '../only-mount.ts'

const INTERVAL_MIN_MS = 100
const HISTORY_LENGTH = 120
/** Lines between two headers. */
const HEADER_EVERY = 20
/** Control sequences of a terminal: the alternate screen without a cursor, and back; to the top; clear what follows. */
const ENTER = '\u001b[?1049h\u001b[?25l'
const LEAVE = '\u001b[?25h\u001b[?1049l'
const HOME = '\u001b[H'
const CLEAR_LINE = '\u001b[K'
const CLEAR_BELOW = '\u001b[J'

interface Options {
  readonly interval: string
  readonly count?: string
}

export function topCommand(): Command {
  return new Command('top')
    .description(
      'Show what a mount does, second by second. On a terminal a screen, which q ends; else lines.',
    )
    .argument('[dir]', 'a directory in the mount; by default the only one of this machine')
    .option('-i, --interval <time>', 'the time between two updates', '1s')
    .option('-n, --count <number>', 'end after this number of updates')
    .action(async (path: string | undefined, { interval, count }: Options) => {
      const intervalMs = parseDurationMs(interval)
      if (intervalMs === undefined || intervalMs < INTERVAL_MIN_MS)
        throw new UsageError(`--interval ${interval} is not a time of at least 100ms: write it as 1s`)
      const updates = count === undefined ? Infinity : Number(count)
      if (!(updates >= 1) || (count !== undefined && !Number.isInteger(updates)))
        throw new UsageError(`--count ${count} is not a number of updates: write it as 10`)
      const mount = mountOf(path)
      const views = viewsOf(mount, intervalMs, updates)
      await (process.stdout.isTTY ? showScreen(views) : printLines(views))
    })
}

type Views = (signal: AbortSignal) => AsyncGenerator<View>

/** A view after each interval. The first one is of the time since the mount. */
function viewsOf(mount: MountedDirectory, intervalMs: number, updates: number): Views {
  return async function* (signal) {
    let before: MountStats | undefined
    const readHistory: number[] = []
    const writeHistory: number[] = []
    for (let i = 0; i < updates && !signal.aborted; i++) {
      if (i > 0) await sleep(intervalMs, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return
      const stats = await callMount(mount, 'stats', {}, ALIVE_TIMEOUT_MS)
      const rates = ratesBetween(before, stats)
      if (before !== undefined) {
        push(readHistory, rates.readBytes)
        push(writeHistory, rates.writtenBytes)
      }
      before = stats
      yield { directory: mount.mountPoint, source: mount.source, stats, rates, readHistory, writeHistory }
    }
  }
}

function push(history: number[], value: number): void {
  history.push(value)
  if (history.length > HISTORY_LENGTH) history.shift()
}

async function printLines(views: Views): Promise<void> {
  let lines = 0
  for await (const view of views(new AbortController().signal)) {
    if (lines++ % HEADER_EVERY === 0) console.log(plainHeader())
    console.log(plainLine(view))
  }
}

async function showScreen(views: Views): Promise<void> {
  const { stdin, stdout } = process
  const end = new AbortController()
  let shown: View | undefined
  const draw = (): void => {
    if (shown === undefined) return
    const lines = screenLines(shown, stdout.columns, stdout.rows)
    stdout.write(`${HOME}${lines.map(line => `${line}${CLEAR_LINE}`).join('\r\n')}${CLEAR_BELOW}`)
  }
  const onKey = (
    _text: string | undefined,
    key: { readonly name?: string; readonly ctrl?: boolean },
  ): void => {
    if (key.name === 'q' || key.name === 'escape' || (key.ctrl === true && key.name === 'c')) end.abort()
  }
  const onSignal = (): void => end.abort()
  stdout.write(ENTER)
  stdout.on('resize', draw)
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
  if (stdin.isTTY) {
    emitKeypressEvents(stdin)
    stdin.setRawMode(true)
    stdin.on('keypress', onKey).resume()
  }
  try {
    for await (const view of views(end.signal)) {
      shown = view
      draw()
    }
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.off('keypress', onKey).pause()
    stdout.off('resize', draw)
    stdout.write(LEAVE)
  }
}
