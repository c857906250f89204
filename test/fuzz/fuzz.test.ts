/** A few seconds of each fuzzer; `npm run fuzz` runs them for a given time. ZBLKFS_FUZZ_SECONDS and ZBLKFS_FUZZ_SEED change it. */
import { expect, test } from 'vitest'
import { fuzz } from './fuzz.ts'
import { KINDS } from './kinds.ts'

const SECONDS = Number(process.env['ZBLKFS_FUZZ_SECONDS'] ?? 4)
/** The same in every run, so that a failed run indicates a change; `npm run fuzz` begins with a new one each time. */
const SEED = Number(process.env['ZBLKFS_FUZZ_SEED'] ?? 2_562_441_576)
test.each(Object.keys(KINDS))(
  `%s (ZBLKFS_FUZZ_SEED=${SEED})`,
  { timeout: SECONDS * 1000 + 120_000 },
  async kind => {
    const { rounds, failure } = await fuzz({ kind, seed: SEED, seconds: SECONDS })
    expect(failure).toBeUndefined()
    expect(rounds).toBeGreaterThan(0)
  },
)
