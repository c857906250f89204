import { expect, test, vi } from 'vitest'
import { SharedTransaction } from '../../../core/file-system/shared/transaction.ts'

test('nothing is changed between the end of a command and that of the rollback of its transaction', async () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  try {
    const transaction = new SharedTransaction()
    const failing = Promise.withResolvers<void>()
    const started = Promise.withResolvers<void>()
    let attempts = 0
    transaction.begin(() => {
      started.resolve()
      return ++attempts === 1 ? failing.promise : Promise.resolve()
    })
    vi.advanceTimersByTime(10_000)
    const yielded = transaction.yield()
    vi.advanceTimersByTime(10_000)
    await started.promise
    const isRefused = (): void => expect(() => transaction.assertMayChange()).toThrow('rolled back')
    isRefused()
    expect(() => transaction.assertNotRolledBack()).toThrow('another mount waited')
    isRefused()
    failing.reject(new Error('no answer'))
    await expect(yielded).rejects.toThrow('no answer')
    isRefused()
    expect(() => transaction.assertNotRolledBack()).not.toThrow()
    const again = transaction.yield()
    vi.advanceTimersByTime(10_000)
    expect(await again).toBe(true)
    transaction.assertMayChange()
  } finally {
    vi.useRealTimers()
  }
})
