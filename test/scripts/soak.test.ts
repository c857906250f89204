/** A day's life of a mount in half a minute; `npm run test:soak` takes longer. */
import { expect, test } from 'vitest'
import { soak } from '../../scripts/soak/soak-day.ts'
import { isWithinATenth } from '../../scripts/soak/space.ts'
import { Random } from '../stress/random.ts'

const SEED = Number(process.env['SOAK_SEED'] ?? Random.seed())

test(
  `several processes, packs in the background, kills and remounts: everything equals the model (SOAK_SEED=${SEED})`,
  { timeout: 900_000 },
  async () => {
    const result = await soak({ minutes: 0.4, seed: SEED })
    console.log(JSON.stringify(result))
    // A day on which nothing happens would prove nothing.
    expect(result.operations).toBeGreaterThan(200)
    expect(result.kills + result.remounts).toBeGreaterThan(2)
    expect(isWithinATenth(result.space), 'the database is as large as what it holds').toBe(true)
    expect(result.warnings).toEqual([])
  },
)
