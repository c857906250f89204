/** `npm run test:soak -- [--minutes M] [--seed S]`: a time-lapse of a day in the life of a mount, see soak-day.ts. */
import { parseArgs } from 'node:util'
import { Random } from '../../test/stress/random.ts'
import { describeResult, verdictsOf } from './report.ts'
import { soak } from './soak-day.ts'

const { values } = parseArgs({ options: { minutes: { type: 'string' }, seed: { type: 'string' } } })
const minutes = Number(values.minutes ?? 20)
const seed = Number(values.seed ?? Random.seed())
const startMs = performance.now()
const elapsed = (): string => `${((performance.now() - startMs) / 1000).toFixed(0).padStart(5)} s`
console.log(`soak: ${minutes} minutes, seed ${seed}`)
const result = await soak({ minutes, seed, log: line => console.log(`${elapsed()}  ${line}`) })
console.log(describeResult(result))
for (const { holds, what } of verdictsOf(result)) {
  console.log(`${holds ? 'holds ' : 'FAILED'} ${what}`)
  if (!holds) process.exitCode = 1
}
