/**
 * Random operations on a file in a directory: `node test/stress/fsx.ts DIR [--operations N] [--seed S]`.
 *
 * Where file and model differ it prints the place, the last operations and the command that repeats the run, and
 * exits with 1. `--asks remount,moment` names what a parent with an IPC channel can do for it.
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { FsxFailure, FsxFile, type Harness } from './fsx-file.ts'
import { Random } from './random.ts'

/** Messages between parent and child. */
export type Ask = { readonly ask: 'remount' } | { readonly ask: 'moment'; readonly path: string }
export interface Answer {
  readonly path?: string
  readonly error?: string
}

/** What the parent at the other end of the IPC channel does for this run: some of `remount,moment`. */
function parentHarness(abilities: readonly string[]): Harness {
  const ask = async (question: Ask): Promise<Answer> => {
    const answered = new Promise<Answer>(resolve => process.once('message', resolve))
    process.send?.(question)
    const answer = await answered
    if (answer.error !== undefined) throw new FsxFailure(answer.error)
    return answer
  }
  return {
    ...(abilities.includes('remount') && { remount: async () => void (await ask({ ask: 'remount' })) }),
    ...(abilities.includes('moment') && {
      moment: async path => (await ask({ ask: 'moment', path })).path ?? path,
    }),
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { operations: { type: 'string' }, seed: { type: 'string' }, asks: { type: 'string' } },
  })
  const [dir] = positionals
  if (dir === undefined) throw new Error('usage: node test/stress/fsx.ts DIR [--operations N] [--seed S]')
  const operations = Number(values.operations ?? 100_000)
  const seed = Number(values.seed ?? Random.seed())
  console.log(`fsx: seed ${seed}, ${operations} operations`)
  const fsx = new FsxFile(join(dir, `fsx-${seed}`), seed, parentHarness(values.asks?.split(',') ?? []))
  const start = performance.now()
  try {
    while (fsx.count < operations) await fsx.step()
    fsx.finish()
  } catch (error) {
    console.log(error instanceof FsxFailure ? error.message : String(error))
    console.log(`repeat it: node test/stress/fsx.ts DIR --seed ${seed} --operations ${fsx.count}`)
    process.exitCode = 1
  }
  const seconds = (performance.now() - start) / 1000
  const lacking = fsx.unsupported.length === 0 ? '' : `; the filesystem has no ${fsx.unsupported.join(', ')}`
  console.log(`fsx: ${fsx.count} operations in ${seconds.toFixed(1)} s${lacking}`)
  process.disconnect?.()
}

if (import.meta.main) await main()
