/**
 * Changes each byte of a small database in turn, and checks that no read returns a wrong byte and that fsck
 * reports everything unreadable. `npm run test:flips -- [--seed S] [--from N] [--to N] [--step N]`; `--compressed` compresses it; `--used` skips zero bytes,
 * most of which are unused space in pages.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Flips, isSafe, randomMask } from '../../test/core/check/flips.ts'
import { makeSmallDatabase } from '../../test/core/check/small-database.ts'
import { Random } from '../../test/stress/random.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    from: { type: 'string' },
    to: { type: 'string' },
    step: { type: 'string' },
    used: { type: 'boolean', default: false },
    compressed: { type: 'boolean', default: false },
  },
})
const seed = Number(values.seed ?? Random.seed())
const directory = await mkdtemp(join(tmpdir(), 'zblkfs-flip-'))
try {
  process.exitCode = await run()
} finally {
  await rm(directory, { recursive: true, force: true })
}

async function run(): Promise<number> {
  const path = join(directory, 'small.zblkfs')
  await makeSmallDatabase(path, true, values.compressed ? 'zstd' : 'off')
  const flips = await Flips.of(path, join(directory, 'damaged.zblkfs'))
  const random = new Random(seed)
  const to = Math.min(Number(values.to ?? flips.size), flips.size)
  const counts = { flipped: 0, found: 0, unused: 0, wrong: 0, missed: 0 }
  console.log(`seed ${seed}, ${flips.size} bytes`)
  for (let at = Number(values.from ?? 0); at < to; at += Number(values.step ?? 1)) {
    if (values.used && flips.isZero(at)) continue
    const outcome = await flips.flip(at, randomMask(random))
    const { mask, wrong, failed, damages } = outcome
    counts.flipped++
    if (damages.length > 0) counts.found++
    else if (failed.length === 0 && wrong.length === 0) counts.unused++
    if (!isSafe(outcome)) {
      if (wrong.length > 0) counts.wrong++
      if (damages.length === 0) counts.missed++
      console.log(
        `byte ${at} ^ ${mask}: wrong ${JSON.stringify(wrong)}, failed ${failed.length}, fsck: ${damages[0]?.reason ?? 'nothing'}`,
      )
    }
    if (counts.flipped % 1000 === 0) console.log(JSON.stringify(counts))
  }
  console.log(JSON.stringify(counts))
  return counts.wrong + counts.missed > 0 ? 1 : 0
}
