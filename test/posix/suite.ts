/**
 * Runs the suite on a directory from a process that lives on whatever happens: the tests run in a child, and a
 * test that does not end within its time is reported as hung. A hung call into a filesystem cannot be waited
 * for nor interrupted, not even by a kill, so that the child is abandoned and another one continues after it.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { describe, expect, it, beforeAll } from 'vitest'
import type { Exclusions } from './exclusions.ts'
import { ALL_TESTS, GROUPS, testName } from './groups.ts'
import type { Outcome } from './run.ts'

const RUN = fileURLToPath(new URL('run.ts', import.meta.url))

/** How a run is made. */
export interface SuiteOptions {
  /** How many entries a big directory has. */
  readonly entries?: number
  /** How long one test may take. */
  readonly testTimeoutMs?: number
  /** What runs the tests, as run.ts does. */
  readonly program?: string
}

type Line = Outcome | { readonly started: string }

/** Runs tests in one child until they end or one hangs; resolves to the name of the one that hung or crashed. */
function runChild(
  args: readonly string[],
  timeoutMs: number,
  outcomes: Outcome[],
): Promise<string | undefined> {
  return new Promise(resolve => {
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let running: string | undefined
    let errors = ''
    let timer: NodeJS.Timeout | undefined
    const end = (message: string): void => {
      clearTimeout(timer)
      child.kill('SIGKILL')
      child.stdout.destroy()
      child.stderr.destroy()
      child.unref()
      if (running !== undefined) outcomes.push({ name: running, outcome: 'failed', ms: timeoutMs, message })
      resolve(running)
      running = undefined
    }
    const watch = (): void => {
      clearTimeout(timer)
      timer = setTimeout(() => end(`hung: it did not end within ${timeoutMs} ms`), timeoutMs)
    }
    watch()
    child.stderr.on('data', (data: Buffer) => (errors = (errors + data.toString()).slice(-2000)))
    createInterface({ input: child.stdout }).on('line', text => {
      const line = JSON.parse(text) as Line
      watch()
      if ('started' in line) running = line.started
      else {
        running = undefined
        outcomes.push(line)
      }
    })
    child.on('close', (code, signal) => end(`the process ended with ${signal ?? code}: ${errors}`))
  })
}

/** Runs the whole suite on a directory. */
export async function runSuite(dir: string, options: SuiteOptions = {}): Promise<readonly Outcome[]> {
  const outcomes: Outcome[] = []
  const fixed = [options.program ?? RUN, dir, '--entries', `${options.entries ?? 5000}`]
  let after: string | undefined
  do {
    const args = after === undefined ? fixed : [...fixed, '--after', after]
    after = await runChild(args, options.testTimeoutMs ?? 60_000, outcomes)
  } while (after !== undefined)
  return outcomes
}

/**
 * Makes a vitest test of each test of the suite. What is excluded must fail: an exclusion that is no longer
 * needed is a failure too, so that the lists stay true.
 * @param run - Sets a filesystem up, gives a directory on it to `runSuite`, and takes it down.
 */
export function describeSuite(
  title: string,
  exclusions: Exclusions,
  run: () => Promise<readonly Outcome[]>,
  timeoutMs = 600_000,
): void {
  describe(title, () => {
    let outcomes: ReadonlyMap<string, Outcome>
    beforeAll(async () => {
      outcomes = new Map((await run()).map(outcome => [outcome.name, outcome]))
    }, timeoutMs)

    for (const [group, tests] of Object.entries(GROUPS)) {
      describe(group, () => {
        for (const sentence of Object.keys(tests)) {
          const name = testName(group, sentence)
          const reason = exclusions[name]
          it(reason === undefined ? sentence : `${sentence} [excluded]`, context => {
            const outcome = outcomes.get(name)
            if (outcome === undefined) expect.fail('it was not run')
            if (outcome.outcome === 'skipped') context.skip(outcome.message)
            if (reason === undefined) expect(outcome.message).toBeUndefined()
            else if (typeof reason === 'string')
              expect(outcome.outcome, 'it passes: remove it from the exclusions').toBe('failed')
          })
        }
      })
    }

    it('excludes only tests that exist', () => {
      expect(Object.keys(exclusions).filter(name => !ALL_TESTS.includes(name))).toEqual([])
    })
  })
}
