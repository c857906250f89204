/**
 * `npm run test:consistency -- [--minutes N | --seconds N] [--seed S] [--writers]`: one writer and two followers, or three writers, on servers
 * that fail.
 */
import { parseArgs } from 'node:util'
import { Random } from '../stress/random.ts'
import { isSetUp, setup } from '../tools/shared-server.ts'
import { runConsistency } from './cluster.ts'
import { runWriters } from './writers.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string' },
    seconds: { type: 'string' },
    seed: { type: 'string' },
    writers: { type: 'boolean' },
  },
})
const seconds = Number(values.seconds ?? Number(values.minutes ?? 60) * 60)
const seed = Number(values.seed ?? Random.seed())
console.log(`${seconds} s, seed ${seed}`)
const end = isSetUp() ? undefined : setup()
try {
  const run = values.writers === true ? runWriters : runConsistency
  const result = await run({ seconds, seed, log: line => console.log(line) })
  console.log(JSON.stringify(result))
  process.exitCode = result.problems.length === 0 ? 0 : 1
} finally {
  await end?.()
}
process.exit()
