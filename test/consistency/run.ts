/** `npm run test:consistency -- [--minutes N | --seconds N] [--seed S]`: one writer and two followers, on servers that fail. */
import { parseArgs } from 'node:util'
import { Random } from '../stress/random.ts'
import { isSetUp, setup } from '../tools/shared-server.ts'
import { runConsistency } from './cluster.ts'

const { values } = parseArgs({
  options: { minutes: { type: 'string' }, seconds: { type: 'string' }, seed: { type: 'string' } },
})
const seconds = Number(values.seconds ?? Number(values.minutes ?? 60) * 60)
const seed = Number(values.seed ?? Random.seed())
console.log(`${seconds} s, seed ${seed}`)
const end = isSetUp() ? undefined : setup()
try {
  const result = await runConsistency({ seconds, seed, log: line => console.log(line) })
  console.log(JSON.stringify(result))
  process.exitCode = result.problems.length === 0 ? 0 : 1
} finally {
  await end?.()
}
process.exit()
