/**
 * Runs the suite in this process: `node test/posix/run.ts DIR [--only TEXT] [--after NAME] [--entries N]`.
 *
 * Each test has a directory of its own below DIR. Lines of JSON on standard output: `{"started": NAME}`, then
 * `{"name", "outcome": "passed" | "failed" | "skipped", "ms", "message"?}`. A test that hangs blocks
 * this process; `suite.ts` starts it as a child and ends one that hangs.
 */
import { chmodSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Directory, Skipped } from './directory.ts'
import { GROUPS, testName } from './groups.ts'

/** What became of one test. */
export interface Outcome {
  readonly name: string
  readonly outcome: 'passed' | 'failed' | 'skipped'
  readonly ms: number
  readonly message?: string
}

function report(line: Outcome | { readonly started: string }): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

/** The error and where in the suite it was thrown. */
function explain(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const place = error.stack?.split('\n').find(line => line.includes('/tests/'))
  return `${error.message}${place === undefined ? '' : ` (${place.trim()})`}`
}

/** Removes the files of a test. An entry that cannot be removed does not fail the test, which has ended. */
function tidy(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true })
  } catch (error) {
    writeSync(2, `${String(error)}\n`)
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { only: { type: 'string' }, after: { type: 'string' }, entries: { type: 'string' } },
  })
  const [root] = positionals
  if (root === undefined) throw new Error('usage: node test/posix/run.ts DIR [--only TEXT] [--entries N]')
  const base = mkdtempSync(join(realpathSync(root), 'posix-'))
  chmodSync(base, 0o755)
  process.umask(0o022)
  let skipping = values.after !== undefined
  let number = 0
  for (const [group, tests] of Object.entries(GROUPS)) {
    for (const [sentence, test] of Object.entries(tests)) {
      const name = testName(group, sentence)
      if (skipping) {
        skipping = name !== values.after
        continue
      }
      if (values.only !== undefined && !name.includes(values.only)) continue
      const path = join(base, `${number++}`)
      mkdirSync(path)
      report({ started: name })
      const start = performance.now()
      const ms = (): number => Math.round(performance.now() - start)
      try {
        await test(new Directory(path, Number(values.entries ?? 100_000)))
        report({ name, outcome: 'passed', ms: ms() })
      } catch (error) {
        const outcome = error instanceof Skipped ? 'skipped' : 'failed'
        report({ name, outcome, ms: ms(), message: explain(error) })
      }
      tidy(path)
    }
  }
  tidy(base)
}

if (import.meta.main) await main()
