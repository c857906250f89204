/**
 * `npm run test:crash -- [--kills N] [--seed S] [--db URL] [-o OPTIONS]`: kills a mount's daemon repeatedly, and checks the remaining
 * state. The database is a new file, or a new one on a server.
 */
import { parseArgs } from 'node:util'
import { killRepeatedly } from '../../test/crash/kills.ts'
import { Random } from '../../test/stress/random.ts'

const { values } = parseArgs({
  options: {
    kills: { type: 'string' },
    seed: { type: 'string' },
    db: { type: 'string' },
    option: { type: 'string', short: 'o', multiple: true },
  },
})
const kills = Number(values.kills ?? 50)
const seed = Number(values.seed ?? Random.seed())
console.log(`${kills} kills, seed ${seed}`)
const startedMs = Date.now()
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => {
    console.log(`${signal}: it ends after this kill`)
    interrupted.abort(new Error(`ended by ${signal}, seed ${seed}`))
  })
const result = await killRepeatedly({
  kills,
  seed,
  options: (values.option ?? []).flatMap(list => list.split(',')),
  log: line => console.log(line),
  signal: interrupted.signal,
  ...(values.db !== undefined && { db: values.db }),
})
const { operations, syncs, killsWithLoss, inCommits, inCheckpoints, inPacks } = result
console.log(
  `${operations} operations, ${syncs} syncs; ${inCommits} kills in commits, ${inCheckpoints} in checkpoints, ${inPacks} in packs; ` +
    `${killsWithLoss} took changes with them that no sync had covered; ${Math.round((Date.now() - startedMs) / 1000)} s`,
)
console.log(`${kills} kills, 0 lost, seed ${seed}`)
