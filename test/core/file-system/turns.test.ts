import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { memoryPaths } from '../../tools/temporary-database.ts'

const BLOCK = 2n << 20n
/** Each operation below takes many times the length of a turn, on a fast machine as well. */
const BLOCKS = 40_000

test('other requests are served while a file of thousands of blocks is stored and truncated', async () => {
  const paths = await memoryPaths({ commitIntervalMs: 1e8 })
  const { fs } = paths
  const { ino, fh } = await paths.create('sparse')
  for (let blk = 0; blk < BLOCKS; blk++) await fs.write(ino, fh, BigInt(blk) * BLOCK, Buffer.alloc(4096, 1))

  const turnsDuring = async (work: Promise<unknown>): Promise<number> => {
    const settled = work.then(() => true)
    let turns = 0
    while (!(await Promise.race([settled, nextTurn(false)]))) turns++
    return turns
  }
  expect(await turnsDuring(fs.sync())).toBeGreaterThan(2)
  expect(await turnsDuring(fs.setattr(ino, { size: 4096n }))).toBeGreaterThan(2)
})
