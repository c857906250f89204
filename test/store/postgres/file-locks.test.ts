/** Locks of files while the server does not answer. */
import { expect, test } from 'vitest'
import { LOCK_END, type LockOwner } from '../../../store/file-locking.ts'
import { StoreError } from '../../../store/errors.ts'
import { oid } from '../../../store/ids.ts'
import { PostgresFileLocks, type FileLocksParts } from '../../../store/postgres/file-locks.ts'

test('a lock waits for an earlier unlocking by its owner, which would release it', async () => {
  const asked: string[] = []
  const unlocked = Promise.withResolvers<void>()
  const repeated = Promise.withResolvers<void>()
  const lease = {
    isClosed: false,
    ask: async (_text: string, name: string): Promise<readonly string[]> => {
      asked.push(name)
      if (name === 'lock_file') return ['locked']
      if (asked.length === 2) throw new StoreError('no answer', { code: 'server-gone' })
      repeated.resolve()
      await unlocked.promise
      asked.push('unlocked')
      return []
    },
  }
  const locks = new PostgresFileLocks({
    name: 'db',
    lease,
    writer: { epoch: 1n },
    report: () => undefined,
  } as unknown as FileLocksParts)
  const owner: LockOwner = { kind: 'fcntl', id: 1n }
  const all = { start: 0n, last: LOCK_END, isExclusive: true, pid: 1 }
  expect(await locks.lock(oid(1), owner, all)).toBe('locked')
  await locks.unlock(oid(1), owner, all)
  await repeated.promise
  const abort = new AbortController()
  const aborted = locks.lock(oid(1), owner, all, abort.signal)
  abort.abort()
  expect(await aborted).toBe('aborted')
  const locking = locks.lock(oid(1), owner, all)
  expect(await locks.lock(oid(1), { kind: 'fcntl', id: 2n }, all)).toBe('locked')
  unlocked.resolve()
  expect(await locking).toBe('locked')
  expect(asked).toEqual(['lock_file', 'unlock_file', 'unlock_file', 'lock_file', 'unlocked', 'lock_file'])
})
