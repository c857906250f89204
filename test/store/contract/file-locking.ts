/** The suite of the `fileLocking` capability: stores of one database that lock files among each other. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { LOCK_END, type FileLocking, type LockOwner } from '../../../store/file-locking.ts'
import { oid } from '../../../store/ids.ts'
import type { WritableStore } from '../../../store/store.ts'
import type { LeasingSubject } from './leasing.ts'

const FILE = oid(100)
const OTHER = oid(101)
const THIRD = oid(102)
const fcntl = (id: number): LockOwner => ({ kind: 'fcntl', id: BigInt(id) })
const flock = (id: number): LockOwner => ({ kind: 'flock', id: BigInt(id) })
const lock = (isExclusive: boolean, start = 0n, last = LOCK_END) => ({ isExclusive, start, last, pid: 7 })
const EXCLUSIVE = lock(true)
const SHARED = lock(false)
const ALL = { start: 0n, last: LOCK_END }

const lockingOf = (store: WritableStore): FileLocking => {
  const { fileLocking } = store.capabilities
  if (fileLocking === undefined) throw new Error('the store does not offer locks of files')
  return fileLocking
}

export function fileLockingContract(name: string, make: () => Promise<LeasingSubject>): void {
  const withTwo = async (
    body: (
      one: FileLocking,
      two: FileLocking,
      stores: readonly WritableStore[],
      subject: LeasingSubject,
    ) => Promise<void>,
  ): Promise<void> => {
    const subject = await make()
    const stores: WritableStore[] = []
    try {
      for (let index = 0; index < 2; index++) {
        const store = await subject.open()
        stores.push(store)
        await store.capabilities.leasing?.release()
        await lockingOf(store).start()
      }
      const [one, two] = stores.map(lockingOf)
      if (one === undefined || two === undefined) throw new Error('two stores')
      await body(one, two, stores, subject)
    } finally {
      for (const store of stores) await store.close().catch(() => undefined)
      await subject.remove()
    }
  }

  describe(`${name}: locks of files`, () => {
    test('exclusive ones exclude all others, shared ones the exclusive', async () => {
      await withTwo(async (one, two) => {
        expect(await one.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('locked')
        expect(await two.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('busy')
        expect(await two.lock(FILE, fcntl(1), SHARED)).toBe('busy')
        expect(await one.lock(FILE, fcntl(2), SHARED)).toBe('busy')
        expect(await two.lock(OTHER, fcntl(1), EXCLUSIVE)).toBe('locked')
        // Locks of flock are apart.
        expect(await two.lock(FILE, flock(1), EXCLUSIVE)).toBe('locked')
        expect(await one.lock(FILE, flock(1), SHARED)).toBe('busy')
        expect(await two.test(FILE, fcntl(1), SHARED)).toEqual({ ...EXCLUSIVE, isOwn: false })
        expect(await one.test(FILE, fcntl(2), SHARED)).toEqual({ ...EXCLUSIVE, isOwn: true })
        expect(await one.test(FILE, fcntl(1), EXCLUSIVE)).toBeUndefined()
        expect(await one.lock(FILE, fcntl(1), SHARED)).toBe('locked')
        expect(await two.lock(FILE, fcntl(1), SHARED)).toBe('locked')
        expect(await one.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('busy')
        await two.unlock(FILE, fcntl(1), ALL)
        expect(await one.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('locked')
      })
    })

    test('ranges are split, replaced and joined', async () => {
      await withTwo(async (one, two) => {
        const [mine, other] = [fcntl(1), fcntl(2 ** 40)]
        const held = async (): Promise<string> => {
          const found: string[] = []
          for (let at = 0n; ;) {
            const next = await two.test(FILE, other, lock(true, at))
            if (next === undefined) return found.join(' ')
            found.push(
              `${next.isExclusive ? 'w' : 'r'}${next.start}-${next.last === LOCK_END ? '' : next.last}`,
            )
            if (next.last === LOCK_END) return found.join(' ')
            at = next.last + 1n
          }
        }
        expect(await one.lock(FILE, mine, lock(true, 0n, 99n))).toBe('locked')
        await one.unlock(FILE, mine, { start: 40n, last: 59n })
        expect(await held()).toBe('w0-39 w60-99')
        expect(await two.lock(FILE, other, lock(true, 40n, 59n))).toBe('locked')
        expect(await two.lock(FILE, other, lock(true, 39n, 59n))).toBe('busy')
        await two.unlock(FILE, other, ALL)
        expect(await one.lock(FILE, mine, lock(false, 10n, 19n))).toBe('locked')
        expect(await held()).toBe('w0-9 r10-19 w20-39 w60-99')
        expect(await one.lock(FILE, mine, lock(true, 40n, 59n))).toBe('locked')
        expect(await held()).toBe('w0-9 r10-19 w20-99')
        expect(await one.lock(FILE, mine, lock(false, 5n))).toBe('locked')
        expect(await held()).toBe('w0-4 r5-')
        await one.unlock(FILE, mine, { start: 1000n, last: LOCK_END })
        expect(await held()).toBe('w0-4 r5-999')
        await one.unlock(FILE, mine, ALL)
        expect(await held()).toBe('')
        expect(one.hasLocks(FILE, mine)).toBe(false)
      })
    })

    test('one that waits gets the lock when it is released, and none after it gave up', async () => {
      await withTwo(async (one, two) => {
        for (const [kind, owner] of [
          ['fcntl', fcntl],
          ['flock', flock],
        ] as const) {
          expect(await one.lock(FILE, owner(1), SHARED), kind).toBe('locked')
          expect(await two.lock(FILE, owner(1), SHARED), kind).toBe('locked')
          const abort = new AbortController()
          const upgrade = two.lock(FILE, owner(1), EXCLUSIVE, abort.signal)
          await sleep(100)
          abort.abort()
          expect(await upgrade, kind).toBe('aborted')
          // It keeps what it had.
          expect(await one.lock(FILE, owner(1), EXCLUSIVE), kind).toBe('busy')
          const waiting = two.lock(FILE, owner(1), EXCLUSIVE, new AbortController().signal)
          await sleep(100)
          const start = performance.now()
          await one.unlock(FILE, owner(1), ALL)
          expect(await waiting, kind).toBe('locked')
          expect(performance.now() - start, kind).toBeLessThan(3000)
          await two.unlock(FILE, owner(1), ALL)
        }
      })
    })

    test('a deadlock is found', async () => {
      await withTwo(async (one, two) => {
        expect(await one.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('locked')
        expect(await two.lock(OTHER, fcntl(1), EXCLUSIVE)).toBe('locked')
        const abort = new AbortController()
        const waiting = one.lock(OTHER, fcntl(1), EXCLUSIVE, abort.signal)
        await sleep(200)
        expect(await two.lock(FILE, fcntl(1), EXCLUSIVE, new AbortController().signal)).toBe('deadlock')
        // Without waiting there is none.
        expect(await two.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('busy')
        await two.unlock(OTHER, fcntl(1), ALL)
        expect(await waiting).toBe('locked')
      })
    })

    test('those of a store that is closed are free at once', async () => {
      await withTwo(async (one, two, [first]) => {
        expect(await one.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('locked')
        await first?.close()
        expect(await two.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('locked')
      })
    })

    test('those of a store that is cut off are free within 10 s; it knows that they are lost, once it is back', async () => {
      await withTwo(async (one, two, [first], subject) => {
        if (first === undefined) throw new Error('two stores')
        expect(await one.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('locked')
        expect(await one.lock(THIRD, fcntl(1), EXCLUSIVE)).toBe('locked')
        expect(await one.lock(OTHER, fcntl(3), lock(true, 0n, 9n))).toBe('locked')
        expect(await one.lock(OTHER, fcntl(3), lock(true, 20n, 29n))).toBe('locked')
        const reconnect = await subject.cutOff(first)
        const start = performance.now()
        expect(await two.lock(FILE, fcntl(1), EXCLUSIVE, new AbortController().signal)).toBe('locked')
        expect(performance.now() - start).toBeLessThan(12_000)
        await reconnect()
        const { leasing } = first.capabilities
        await expect(leasing?.acquire()).rejects.toMatchObject({ code: 'fenced' })
        await leasing?.rejoin()
        expect(one.isLost(FILE)).toBe(true)
        expect(one.isLost(oid(103))).toBe(false)
        // All of them have to be unlocked.
        await one.unlock(OTHER, fcntl(3), { start: 0n, last: 9n })
        expect(one.isLost(OTHER)).toBe(true)
        await one.unlock(OTHER, fcntl(3), { start: 15n, last: 29n })
        expect(one.isLost(OTHER)).toBe(false)
        expect(await one.lock(FILE, fcntl(2), EXCLUSIVE)).toBe('busy')
        one.forget(FILE)
        expect([one.isLost(FILE), one.hasLocks(FILE, fcntl(1)), one.isLost(THIRD)]).toEqual([
          false,
          false,
          true,
        ])
        await one.unlock(THIRD, fcntl(1), ALL)
        expect(one.isLost(THIRD)).toBe(false)
        expect(await two.lock(FILE, fcntl(1), EXCLUSIVE)).toBe('locked')
      })
    })
  })
}
