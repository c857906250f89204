/** Mounts of one database agree while its servers fail. `npm run test:consistency -- --minutes N --seed S` runs for longer. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { hasBucketDatabases } from '../tools/bucket-database.ts'
import { hasPostgres } from '../tools/postgres-server.ts'
import type { ConsistencyResult } from './cluster.ts'
import type { WritersResult } from './writers.ts'

const SECONDS = Number(process.env['CONSISTENCY_SECONDS'] ?? 40)
/** The same faults each time; the command tries others. */
const SEED = Number(process.env['CONSISTENCY_SEED'] ?? 203_591_913)
const RUN = fileURLToPath(new URL('run.ts', import.meta.url))

const RUN_WRITERS_SECONDS = Number(process.env['CONSISTENCY_SECONDS'] ?? 25)

interface Ran<T> {
  readonly result: T
  readonly code: number
  readonly output: string
}

/** A call into a mount whose servers are gone occupies a thread of the process that makes it. */
async function run<T extends { readonly problems: readonly string[] }>(
  ...parameters: readonly string[]
): Promise<Ran<T>> {
  const child = spawn(process.execPath, [RUN, ...parameters], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '24' },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (output += String(data)))
  const [code] = (await once(child, 'close')) as [number]
  const line = output.split('\n').find(text => text.startsWith('{'))
  return { result: JSON.parse(line ?? '{"problems":["no result"]}') as T, code, output }
}

describe.skipIf(!hasBucketDatabases)('consistency', () => {
  test(`one writer and two followers for ${SECONDS} s, with faults (CONSISTENCY_SEED=${SEED})`, async () => {
    const { result, code, output } = await run<ConsistencyResult>(
      '--seconds',
      String(SECONDS),
      '--seed',
      String(SEED),
    )
    expect(result.problems, output).toEqual([])
    expect(code, output).toBe(0)
    expect(result.syncs).toBeGreaterThan(0)
    expect(result.moments).toBeGreaterThan(1)
  })
})

describe.skipIf(!hasPostgres)('consistency of several writers', () => {
  test(`three writers for ${RUN_WRITERS_SECONDS} s, with faults (CONSISTENCY_SEED=${SEED})`, async () => {
    const { result, code, output } = await run<WritersResult>(
      '--writers',
      '--seconds',
      String(RUN_WRITERS_SECONDS),
      '--seed',
      String(SEED),
    )
    expect(result.problems, output).toEqual([])
    expect(code, output).toBe(0)
    expect(result.synced).toBeGreaterThan(0)
    expect(result.reads).toBeGreaterThan(0)
  })
})
