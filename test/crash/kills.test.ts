/** A killed daemon loses no synced data. `npm run test:crash -- --kills N --seed S` kills more often. */
import { expect, test } from 'vitest'
import { Random } from '../stress/random.ts'
import { killRepeatedly } from './kills.ts'

const KILLS = Number(process.env['CRASH_KILLS'] ?? 50)
const SEED = Number(process.env['CRASH_SEED'] ?? Random.seed())

test(
  `after ${KILLS} kills of the daemon the tree is a prefix of what was done, all that was synced in it (CRASH_SEED=${SEED})`,
  { timeout: 900_000 },
  async () => {
    const result = await killRepeatedly({ kills: KILLS, seed: SEED })
    console.log(JSON.stringify(result))
    // Without an interrupted activity the test would be void.
    expect(result.operations).toBeGreaterThan(10 * KILLS)
    expect(result.killsWithLoss).toBeGreaterThan(0)
    expect(result.inCommits + result.inCheckpoints + result.inPacks).toBeGreaterThan(0)
  },
)
