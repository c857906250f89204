/** `npm run test:crash -- [--kills N] [--seed S] [-o OPTIONS]`: kills a mount's daemon repeatedly, and checks the remaining state. */
import { parseArgs } from 'node:util'
import { killRepeatedly } from '../../test/crash/kills.ts'
import { Random } from '../../test/stress/random.ts'

const { values } = parseArgs({
  options: { kills: { type: 'string' }, seed: { type: 'string' }, o: { type: 'string', short: 'o' } },
})
const kills = Number(values.kills ?? 50)
const seed = Number(values.seed ?? Random.seed())
console.log(`${kills} kills, seed ${seed}`)
const startedMs = Date.now()
const result = await killRepeatedly({
  kills,
  seed,
  ...(values.o !== undefined && { options: values.o.split(',') }),
  log: line => console.log(line),
})
const { operations, syncs, killsWithLoss, inCommits, inCheckpoints, inPacks } = result
console.log(
  `${operations} operations, ${syncs} syncs; ${inCommits} kills in commits, ${inCheckpoints} in checkpoints, ${inPacks} in packs; ` +
    `${killsWithLoss} took changes with them that no sync had covered; ${Math.round((Date.now() - startedMs) / 1000)} s`,
)
console.log(`${kills} kills, 0 lost, seed ${seed}`)
