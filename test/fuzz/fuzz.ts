/**
 * Feeds generated input to the code that reads it, for a given time: `npm run fuzz -- KIND [--seconds N] [--seed S] [--round R]`.
 *
 * A round takes its choices from a generator that begins with the seed and the round's number, so `--seed S --round R` repeats
 * one. Rounds run in a child process, which reports the beginning of each; this process watches it. A round fails
 *
 * - if it throws: an error that is not one on purpose, a wrong answer;
 * - if a step of it takes more than {@link HANG_SECONDS} of the processor, or its process neither runs nor waits for a processor for
 *   {@link WAIT_SECONDS};
 * - if the process has had more than {@link MEMORY_MAX_MIB} in memory after it.
 */
import { fork } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { ENVIRONMENT, MEMORY_FLAGS } from '../../scripts/daemon-process.ts'
import { Random } from '../stress/random.ts'
import { KINDS } from './kinds.ts'

const HANG_SECONDS = 2
const WAIT_SECONDS = 60
const MEMORY_MAX_MIB = 300
/** A child begins anew after this many: memory of many rounds must not hide that of one. */
const ROUNDS_PER_CHILD = 400

export interface FuzzResult {
  readonly rounds: number
  readonly peakMiB: number
  readonly slowestSeconds: number
  /** What a round did that it must not, with the seed and the number that repeat it. */
  readonly failure: string | undefined
}

interface FuzzOptions {
  readonly kind: string
  readonly seed: number
  readonly seconds: number
  /** The first round; with `only`, the only one. */
  readonly round?: number
  readonly only?: boolean
}

type Report =
  | { readonly begins: number }
  | { readonly ended: number; readonly seconds: number; readonly peakMiB: number; readonly error?: string }

/** Runs rounds until the time is over or one fails. */
export async function fuzz({
  kind,
  seed,
  seconds,
  round = 0,
  only = false,
}: FuzzOptions): Promise<FuzzResult> {
  const end = Date.now() + seconds * 1000
  let result: FuzzResult = { rounds: 0, peakMiB: 0, slowestSeconds: 0, failure: undefined }
  const count = only ? 1 : ROUNDS_PER_CHILD
  for (let next = round; ;) {
    const part = await runChild({ kind, seed, first: next, count, end })
    next += count
    result = {
      rounds: result.rounds + part.rounds,
      peakMiB: Math.max(result.peakMiB, part.peakMiB),
      slowestSeconds: Math.max(result.slowestSeconds, part.slowestSeconds),
      failure: part.failure,
    }
    if (only || part.failure !== undefined || Date.now() >= end) return result
  }
}

interface ChildRun {
  readonly kind: string
  readonly seed: number
  readonly first: number
  readonly count: number
  readonly end: number
}

function runChild({ kind, seed, first, count, end }: ChildRun): Promise<FuzzResult> {
  const directory = mkdtempSync(join(tmpdir(), `zblkfs-fuzz-${kind}-`))
  const parameters = ['--child', kind, String(seed), String(first), String(count), String(end), directory]
  const child = fork(fileURLToPath(import.meta.url), parameters, {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    // V8 and malloc as a daemon has them: by default V8 keeps 150 MiB of heap of which 17 are in use.
    execArgv: [...process.execArgv, ...MEMORY_FLAGS],
    env: { ...process.env, ...ENVIRONMENT },
  })
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr = `${stderr}${text}`.slice(-4000)))
  const progress = { rounds: 0, peakMiB: 0, slowestSeconds: 0, current: first }
  let failure: string | undefined
  const fail = (what: string): void => {
    failure ??= `${what} (repeat it: npm run fuzz -- ${kind} --seed ${seed} --round ${progress.current})`
    child.kill('SIGKILL')
  }
  return new Promise(resolve => {
    let watch: NodeJS.Timeout | undefined
    child.on('message', (report: Report) => {
      clearInterval(watch)
      if ('begins' in report) {
        progress.current = report.begins
        watch = watchRound(child.pid ?? 0, () => fail(`a round does not end`))
        return
      }
      progress.rounds++
      progress.peakMiB = Math.max(progress.peakMiB, report.peakMiB)
      progress.slowestSeconds = Math.max(progress.slowestSeconds, report.seconds)
      if (report.error !== undefined) fail(report.error)
      else if (report.peakMiB > MEMORY_MAX_MIB) fail(`${Math.round(report.peakMiB)} MiB in memory`)
    })
    child.once('exit', code => {
      clearInterval(watch)
      rmSync(directory, { recursive: true, force: true })
      if (code !== 0) fail(`the process ended with ${String(code)}: ${stderr}`)
      const { rounds, peakMiB, slowestSeconds } = progress
      resolve({ rounds, peakMiB, slowestSeconds, failure })
    })
  })
}

/** Calls `onHang` if a process sleeps for {@link WAIT_SECONDS}. On a loaded machine it may have to wait for a processor for that long. */
function watchRound(pid: number, onHang: () => void): NodeJS.Timeout {
  let before = ''
  let asleep = 0
  return setInterval(() => {
    const { state, used } = stateOf(pid)
    asleep = state === 'R' || used !== before ? 0 : asleep + 1
    before = used
    if (asleep >= WAIT_SECONDS) onHang()
  }, 1000)
}

/** The state of a process, and the processor time that it has used, as text. Source: proc_pid_stat(5). */
function stateOf(pid: number): { readonly state: string; readonly used: string } {
  try {
    const [state = '', ...numbers] = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /, '')
      .split(' ')
    return { state, used: numbers.slice(10, 12).join(' ') }
  } catch {
    return { state: 'ended', used: '' }
  }
}

async function serve([kind = '', seed, first, count, end, directory = '']: readonly string[]): Promise<void> {
  const tell = (report: Report): Promise<void> =>
    new Promise(resolve => process.send?.(report, undefined, undefined, () => resolve()))
  const unexpected: string[] = []
  process.on('unhandledRejection', error => unexpected.push(`unhandled: ${textOf(error)}`))
  const fuzzer = await KINDS[kind]?.(directory)
  if (fuzzer === undefined) throw new Error(`there is no ${kind}`)
  for (let round = Number(first); round < Number(first) + Number(count); round++) {
    if (round > Number(first) && Date.now() > Number(end)) break
    await tell({ begins: round })
    const before = process.cpuUsage()
    let error: string | undefined
    try {
      await fuzzer.round(new Random(Number(seed) + round * 7919))
    } catch (thrown) {
      error = textOf(thrown)
    }
    error ??= unexpected.pop()
    // The first round of a process compiles what it runs.
    const { user, system } = process.cpuUsage(before)
    const seconds = (user + system) / 1e6 / (fuzzer.steps ?? 1)
    if (round > Number(first) && seconds > HANG_SECONDS)
      error ??= `it takes ${seconds.toFixed(1)} s of the processor`
    const peakMiB = process.resourceUsage().maxRSS / 1024
    await tell({ ended: round, seconds, peakMiB, ...(error !== undefined && { error }) })
  }
  await fuzzer.close?.()
  process.exit(0)
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `\ncaused by ${textOf(error.cause)}`
  return `${error.stack ?? error.message}${cause}`
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { seconds: { type: 'string' }, seed: { type: 'string' }, round: { type: 'string' } },
  })
  const kinds = positionals.length > 0 ? positionals : Object.keys(KINDS)
  for (const kind of kinds) {
    if (!(kind in KINDS)) throw new Error(`${kind} is not one of ${Object.keys(KINDS).join(', ')}`)
    const seed = Number(values.seed ?? Random.seed())
    const { rounds, peakMiB, slowestSeconds, failure } = await fuzz({
      kind,
      seed,
      seconds: Number(values.seconds ?? 10),
      ...(values.round !== undefined && { round: Number(values.round), only: true }),
    })
    console.log(
      `${kind}: seed ${seed}, ${rounds} rounds, slowest ${slowestSeconds.toFixed(2)} s, ${Math.round(peakMiB)} MiB${failure === undefined ? '' : `\nFAILED: ${failure}`}`,
    )
    if (failure !== undefined) process.exitCode = 1
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv[2] === '--child') await serve(process.argv.slice(3))
  else await main()
}
