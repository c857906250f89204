/** Which notifications direct writes make. */
import { expect, test } from 'vitest'
import { ino as toIno } from '../../../../core/file-system/operations.ts'
import { DirectWrites } from '../../../../mount/drivers/kernel/direct-writes.ts'

const FILE = toIno(7)
const OTHER = toIno(8)

/** A kernel that answers notifications one after another, when it is told to. */
class SlowKernel {
  readonly ranges: string[] = []
  #answer = Promise.withResolvers<void>()

  async invalidatePages(ino: number, off: bigint, len: bigint): Promise<void> {
    this.ranges.push(`${ino}: ${off}+${len}`)
    await this.#answer.promise
  }

  answer(): void {
    this.#answer.resolve()
    this.#answer = Promise.withResolvers<void>()
  }
}

test('writes that end while a notification runs share the next one', async () => {
  const kernel = new SlowKernel()
  const writes = new DirectWrites(kernel)
  const ended: string[] = []
  const write = async (off: bigint): Promise<void> => {
    await writes.written(FILE, off, 4096n)
    ended.push(String(off))
  }
  const first = write(40_960n)
  await expect.poll(() => kernel.ranges).toStrictEqual(['7: 40960+4096'])
  const others = [write(81_920n), write(8192n), write(20_480n)]
  await new Promise(setImmediate)
  expect(kernel.ranges).toHaveLength(1)
  kernel.answer()
  await first
  await expect.poll(() => kernel.ranges.slice(1)).toStrictEqual(['7: 8192+77824'])
  expect(ended).toStrictEqual(['40960'])
  kernel.answer()
  await Promise.all(others)
})

test('a file of which the kernel caches pages loses no other ones', async () => {
  const kernel = new SlowKernel()
  const writes = new DirectWrites(kernel)
  const done = [writes.written(FILE, 0n, 4096n)]
  await expect.poll(() => kernel.ranges.length).toBe(1)
  writes.cached(FILE)
  done.push(writes.written(FILE, 40_960n, 4096n), writes.written(FILE, 81_920n, 4096n))
  done.push(writes.written(OTHER, 0n, 4096n))
  await expect
    .poll(() => kernel.ranges.slice(1))
    .toStrictEqual(['7: 40960+4096', '7: 81920+4096', '8: 0+4096'])
  kernel.answer()
  await Promise.all(done)
})
