/** Single bytes that change: `npm run test:flips` changes every byte of the database, this a sample that a seed repeats. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Random } from '../../stress/random.ts'
import { Flips, isSafe, randomMask } from './flips.ts'
import { makeSmallDatabase } from './small-database.ts'

const COUNT = 120
const SEED = Number(process.env['FLIP_SEED'] ?? Random.seed())

test(`none of ${COUNT} changed bytes is served, and fsck finds each relevant one (FLIP_SEED=${SEED})`, async () => {
  const directory = await mkdtemp(join(tmpdir(), 'zblkfs-flips-'))
  try {
    const path = join(directory, 'small.zblkfs')
    await makeSmallDatabase(path, true)
    const flips = await Flips.of(path, join(directory, 'damaged.zblkfs'))
    const random = new Random(SEED)
    let found = 0
    for (let count = 0; count < COUNT;) {
      const at = random.below(flips.size)
      if (flips.isZero(at)) continue
      count++
      const outcome = await flips.flip(at, randomMask(random))
      found += outcome.damages.length > 0 ? 1 : 0
      expect(isSafe(outcome), `byte ${at}: ${outcome.wrong.join(', ')} ${outcome.failed.join(', ')}`).toBe(
        true,
      )
    }
    expect(found).toBeGreaterThan(COUNT / 2)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
