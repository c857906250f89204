import { expect, test } from 'vitest'
import { OidLease } from '../../../core/objects/oid-lease.ts'
import { oid } from '../../../store/ids.ts'
import { TestStore } from '../../tools/test-store.ts'
import type { OidRange } from '../../../store/store.ts'

async function take(lease: OidLease, count: number): Promise<number> {
  for (;;) {
    const reserved = lease.reserve(count)
    if (reserved === undefined) return lease.take(count)
    await reserved
  }
}

test('concurrent callers get distinct oids, in one range each', async () => {
  const lease = new OidLease(new TestStore())
  const counts = Array.from({ length: 400 }, (_, i) => 1 + ((i * 37) % 90))
  const firsts = await Promise.all(counts.map(async count => await take(lease, count)))
  const taken = firsts.flatMap((first, i) => Array.from({ length: counts[i] ?? 0 }, (_, j) => first + j))
  expect(new Set(taken).size).toBe(taken.length)
})

test('the next range is requested before the current one is used up', async () => {
  const store = new TestStore()
  const lease = new OidLease(store)
  let waits = 0
  for (let i = 0; i < 20_000; i++) {
    const reserved = lease.reserve(1)
    if (reserved !== undefined) waits++
    await reserved
    lease.take(1)
    if (i % 10 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  // A range that was allocated ahead is adopted without waiting for the store, but in a promise of its own.
  expect(waits).toBeLessThan(20)
})

test('a failed allocation is repeated', async () => {
  let calls = 0
  const store = new TestStore()
  store.allocateOids = (count: number): Promise<OidRange> =>
    calls++ === 0 ? Promise.reject(new Error('not now')) : Promise.resolve({ first: oid(7), count })
  const lease = new OidLease(store)
  await expect(lease.reserve(1)).rejects.toThrow('not now')
  expect(await take(lease, 1)).toBe(7)
})
