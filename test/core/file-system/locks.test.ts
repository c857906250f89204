import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { ReadWriteLock } from '../../../core/file-system/locks.ts'

test('a free lock is acquired without waiting', () => {
  const lock = new ReadWriteLock()
  expect(lock.shared()).toBeUndefined()
  expect(lock.shared()).toBeUndefined()
  lock.release()
  lock.release()
  expect(lock.alone()).toBeUndefined()
  expect(lock.tryShared()).toBe(false)
  lock.release()
  expect(lock.isFree).toBe(true)
  expect(() => lock.release()).toThrow('not held')
})

test('a later request does not overtake one that waits for exclusive access', async () => {
  const lock = new ReadWriteLock()
  const order: string[] = []
  await lock.shared()
  const alone = lock.alone()?.then(() => order.push('alone'))
  const later = lock.shared()?.then(() => order.push('later'))
  expect(lock.tryShared()).toBe(false)
  lock.release()
  await alone
  expect(order).toEqual(['alone'])
  lock.release()
  await later
  expect(order).toEqual(['alone', 'later'])
  lock.release()
})

test('an exclusive holder is the only one, and every request is granted in the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.record({ alone: fc.boolean(), turns: fc.nat(5) })), async users => {
      const lock = new ReadWriteLock()
      let sharing = 0
      let isAlone = false
      await Promise.all(
        users.map(async ({ alone, turns }) => {
          await (alone ? lock.alone() : lock.shared())
          expect(isAlone || (alone && sharing > 0)).toBe(false)
          if (alone) isAlone = true
          else sharing++
          for (let i = 0; i < turns; i++) await Promise.resolve()
          if (alone) isAlone = false
          else sharing--
          lock.release()
        }),
      )
      expect(lock.isFree).toBe(true)
    }),
  )
})
