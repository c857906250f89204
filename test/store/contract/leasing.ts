/** The suite of the `leasing` capability: stores of one database that write in turns. */
import { describe, expect, test, vi } from 'vitest'
import { setTimeout as sleep } from 'node:timers/promises'
import { WriterGoneError } from '../../../store/errors.ts'
import type { Leasing } from '../../../store/leasing.ts'
import { TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import type { WritableStore } from '../../../store/store.ts'

export interface LeasingSubject {
  /** Opens the database once more, for writing beside others. */
  readonly open: () => Promise<WritableStore>
  /** Cuts a store off from its database for as long as another needs to fence it. */
  readonly cutOff: (store: WritableStore) => Promise<() => Promise<void>>
  readonly remove: () => Promise<void>
}

const leasingOf = (store: WritableStore): Leasing => {
  const { leasing } = store.capabilities
  if (leasing === undefined) throw new Error('the store does not offer leasing')
  return leasing
}

async function add(store: WritableStore, value: number): Promise<{ readonly oid: Oid; readonly tid: Tid }> {
  const oid = (await store.allocateOids(1)).first
  const record = { head: Uint8Array.of(value) }
  return { oid, tid: await store.commit({ changes: [{ oid, base: TID_NONE, record }] }) }
}

export function leasingContract(name: string, make: () => Promise<LeasingSubject>): void {
  const withStores = async (
    count: number,
    body: (stores: readonly WritableStore[], subject: LeasingSubject) => Promise<void>,
  ): Promise<void> => {
    const subject = await make()
    const stores: WritableStore[] = []
    try {
      for (let index = 0; index < count; index++) {
        const store = await subject.open()
        stores.push(store)
        if (index < count - 1) await leasingOf(store).release()
      }
      await body(stores, subject)
    } finally {
      for (const store of stores) await store.close().catch(() => undefined)
      await subject.remove()
    }
  }

  describe(`${name}: leasing`, () => {
    test('a store is opened as the holder; the next holder sees its commits, and allocates other oids', async () => {
      await withStores(2, async ([one, two]) => {
        if (one === undefined || two === undefined) throw new Error('two stores')
        const first = await add(two, 1)
        await leasingOf(two).release()
        expect(await leasingOf(one).acquire()).toBe(first.tid)
        const second = await add(one, 2)
        expect(second.tid).toBeGreaterThan(first.tid)
        expect(second.oid).toBeGreaterThan(first.oid)
        await leasingOf(one).release()
        expect(await leasingOf(two).acquire()).toBe(second.tid)
        const third = await add(two, 3)
        expect(third.oid).toBeGreaterThan(second.oid)
        expect(await one.lastTid()).toBe(third.tid)
      })
    })

    test('the lease alternates between two stores that both request it', async () => {
      await withStores(2, async stores => {
        let last = TID_NONE
        for (let round = 0; round < 6; round++) {
          const [holder, waiter] = round % 2 === 0 ? stores.toReversed() : stores
          if (holder === undefined || waiter === undefined) throw new Error('two stores')
          const recalled = new Promise<void>(resolve => leasingOf(holder).watch({ onRecall: resolve }))
          const acquired = leasingOf(waiter).acquire()
          await recalled
          const { tid, oid } = await add(holder, round)
          await leasingOf(holder).release()
          expect(await acquired).toBe(tid)
          const next = await add(waiter, round)
          expect(next.oid).toBeGreaterThan(oid)
          expect(next.tid).toBeGreaterThan(tid)
          last = next.tid
        }
        expect(await stores[0]?.lastTid()).toBe(last)
      })
    })

    test('a commit without the lease fails and stores nothing', async () => {
      await withStores(2, async ([one, two]) => {
        if (one === undefined || two === undefined) throw new Error('two stores')
        await expect(add(one, 1)).rejects.toBeInstanceOf(WriterGoneError)
        expect(await two.lastTid()).toBe(TID_NONE)
      })
    })

    test('a lease that is requested while it is released is held afterwards', async () => {
      await withStores(2, async ([one, two]) => {
        if (one === undefined || two === undefined) throw new Error('two stores')
        // A recall may arrive, and be answered, more than once.
        const released = [leasingOf(two).release(), leasingOf(two).release(), leasingOf(two).release()]
        await leasingOf(two).acquire()
        await Promise.all(released)
        const { tid } = await add(two, 1)
        const recalled = new Promise<void>(resolve => leasingOf(two).watch({ onRecall: resolve }))
        const acquired = leasingOf(one).acquire()
        await recalled
        await leasingOf(two).release()
        expect(await acquired).toBe(tid)
      })
    })

    test('a lease that is released while it is asked for again is held afterwards', async () => {
      await withStores(2, async ([one, two]) => {
        if (one === undefined || two === undefined) throw new Error('two stores')
        expect([leasingOf(one).isHolder(), leasingOf(two).isHolder()]).toEqual([false, true])
        for (let delayMs = 0; delayMs < 8; delayMs++) {
          const acquired = leasingOf(two).acquire()
          await sleep(delayMs)
          const released = leasingOf(two).release()
          await Promise.all([acquired, released])
          // Either it was released after it was acquired, or acquired once more.
          if (!leasingOf(two).isHolder()) await leasingOf(two).acquire()
          await add(two, delayMs)
        }
      })
    })

    test('a store that is fenced is not the holder, before and after it rejoins', async () => {
      await withStores(2, async ([one, two], subject) => {
        if (one === undefined || two === undefined) throw new Error('two stores')
        const reconnect = await subject.cutOff(two)
        await leasingOf(one).acquire()
        await reconnect()
        await expect(leasingOf(two).confirm()).rejects.toBeInstanceOf(WriterGoneError)
        expect(leasingOf(two).isHolder()).toBe(false)
        await leasingOf(two).rejoin()
        expect([leasingOf(one).isHolder(), leasingOf(two).isHolder()]).toEqual([true, false])
      })
    })

    test('a holder is recalled, and requests are served in their order', async () => {
      await withStores(3, async stores => {
        const [one, two, three] = stores
        if (one === undefined || two === undefined || three === undefined) throw new Error('three stores')
        const order: string[] = []
        const recalled = vi.fn<() => void>()
        leasingOf(three).watch({ onRecall: recalled })
        const first = leasingOf(one)
          .acquire()
          .then(() => order.push('one'))
        await vi.waitFor(() => expect(recalled).toHaveBeenCalled(), 5000)
        leasingOf(one).watch({ onRecall: () => void first.then(() => leasingOf(one).release()) })
        const second = leasingOf(two)
          .acquire()
          .then(() => order.push('two'))
        await sleep(200)
        expect(order).toEqual([])
        await leasingOf(three).release()
        await Promise.all([first, second])
        expect(order).toEqual(['one', 'two'])
      })
    })

    test('settle waits until the holder has stored its changes, and does not request the lease', async () => {
      await withStores(2, async ([one, two]) => {
        if (one === undefined || two === undefined) throw new Error('two stores')
        const stored: Tid[] = []
        const onRecall = (): void =>
          void add(two, 1).then(async ({ tid }) => {
            stored.push(tid)
            await leasingOf(two).release()
          })
        leasingOf(two).watch({ onRecall })
        expect(await leasingOf(one).settle()).toEqual({ tid: await two.lastTid(), isHeld: false })
        expect(stored).toEqual([await two.lastTid()])
        // It is free, so nothing is waited for.
        expect(await leasingOf(one).settle()).toMatchObject({ tid: stored[0], isHeld: false })
      })
    })

    test('a store that is alone takes the free lease when it settles', async () => {
      await withStores(1, async ([one]) => {
        if (one === undefined) throw new Error('one store')
        expect(await leasingOf(one).isAlone()).toBe(true)
        await leasingOf(one).release()
        expect(await leasingOf(one).settle()).toEqual({ tid: TID_NONE, isHeld: true })
        await leasingOf(one).acquire()
        await add(one, 1)
      })
    })

    test('a holder that is cut off is fenced within 10 s, and can rejoin', async () => {
      await withStores(2, async ([one, two], subject) => {
        if (one === undefined || two === undefined) throw new Error('two stores')
        const before = await add(two, 1)
        const reconnect = await subject.cutOff(two)
        const start = performance.now()
        expect(await leasingOf(one).acquire()).toBe(before.tid)
        expect(performance.now() - start).toBeLessThan(10_000)
        expect(leasingOf(two).isConfirmed()).toBe(false)
        const after = await add(one, 2)
        await leasingOf(one).confirm()
        expect(leasingOf(one).isConfirmed()).toBe(true)
        await reconnect()
        await expect(add(two, 3)).rejects.toBeInstanceOf(WriterGoneError)
        await expect(leasingOf(two).confirm()).rejects.toBeInstanceOf(WriterGoneError)
        await expect(leasingOf(two).acquire()).rejects.toBeInstanceOf(WriterGoneError)
        expect(await two.lastTid()).toBe(after.tid)
        await leasingOf(two).rejoin()
        leasingOf(one).watch({ onRecall: () => void leasingOf(one).release() })
        expect(await leasingOf(two).acquire()).toBe(after.tid)
        expect((await add(two, 4)).oid).toBeGreaterThan(after.oid)
      })
    })

    test('a holder that rejoins as soon as it knows can commit at once', async () => {
      await withStores(2, async ([one, two], subject) => {
        if (one === undefined || two === undefined) throw new Error('two stores')
        const reconnect = await subject.cutOff(two)
        await leasingOf(one).acquire()
        await reconnect()
        await expect(leasingOf(two).confirm()).rejects.toBeInstanceOf(WriterGoneError)
        await leasingOf(two).rejoin()
        leasingOf(one).watch({ onRecall: () => void leasingOf(one).release() })
        await leasingOf(two).acquire()
        const committed = add(two, 1)
        expect(await Promise.race([committed.then(() => 'committed'), sleep(10_000, 'waits')])).toBe(
          'committed',
        )
      })
    })
  })
}
