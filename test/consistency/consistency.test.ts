/** Mounts of one database agree while its servers fail. `npm run test:consistency -- --minutes N --seed S` runs for longer. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { Random } from '../stress/random.ts'
import { hasBucketDatabases } from '../tools/bucket-database.ts'
import type { ConsistencyResult } from './cluster.ts'

const SECONDS = Number(process.env['CONSISTENCY_SECONDS'] ?? 40)
const SEED = Number(process.env['CONSISTENCY_SEED'] ?? Random.seed())
const RUN = fileURLToPath(new URL('run.ts', import.meta.url))

describe.skipIf(!hasBucketDatabases)('consistency', () => {
  test(`one writer and two followers for ${SECONDS} s, with faults (CONSISTENCY_SEED=${SEED})`, async () => {
    // A call into a mount whose servers are gone occupies a thread.
    const child = spawn(process.execPath, [RUN, '--seconds', String(SECONDS), '--seed', String(SEED)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (output += String(data)))
    const [code] = (await once(child, 'close')) as [number]
    const line = output.split('\n').find(text => text.startsWith('{'))
    const result = JSON.parse(line ?? '{"problems":["no result"]}') as ConsistencyResult
    expect(result.problems, output).toEqual([])
    expect(code, output).toBe(0)
    expect(result.syncs).toBeGreaterThan(0)
    expect(result.moments).toBeGreaterThan(1)
  })
})
