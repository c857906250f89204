/** Hints end the wait for a poll: with an interval of an hour, only they make a watcher see a transaction. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { Polling } from '../../store/polling.ts'
import { ROOT_OID, TID_NONE, tid, type Tid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { WritableStore } from '../../store/store.ts'
import { textOf } from '../../store/os-text.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

const HOUR_MS = 3_600_000

const fail = (error: unknown): never => {
  throw error
}

test('after an early hint an eager watcher polls until the transaction is there; others do not', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  let last = TID_NONE
  const early: (() => void)[] = []
  const polling = new Polling(
    () => Promise.resolve(last),
    undefined,
    onHint => {
      early.push(onHint)
      return () => void early.splice(early.indexOf(onHint), 1)
    },
  )
  const seen: Tid[] = []
  const watcher = { after: TID_NONE, onError: fail, intervalMs: HOUR_MS }
  const stops = [
    polling.watch({ ...watcher, isEager: true, onAdvance: async at => void seen.push(at) }),
    polling.watch({ ...watcher, onAdvance: async at => void seen.push(at) }),
  ]
  expect(early.length).toBe(1)
  early[0]?.()
  await vi.advanceTimersByTimeAsync(10)
  expect(seen).toEqual([])
  last = tid(7n)
  await vi.advanceTimersByTimeAsync(2)
  expect(seen).toEqual([7n])
  last = tid(8n)
  await vi.advanceTimersByTimeAsync(1000)
  expect(seen).toEqual([7n])
  for (const stop of stops) stop()
  expect(early.length).toBe(0)
})

test.each([
  ['', 'a name in UTF-8'],
  [textOf(Uint8Array.of(0xff)), 'another name'],
])('what is written to the WAL is a hint, also if that is made later, %j: %s', async suffix => {
  const path = `${temporaryDatabase()}${suffix}`
  const commit = (store: WritableStore, base: Tid): Promise<Tid> =>
    store.commit({ changes: [{ oid: ROOT_OID, base, record: { head: Uint8Array.of(1) } }] })
  const first = await openDatabase(path, { create: true })
  const begin = await commit(first, TID_NONE)
  const reader = await openDatabase(path, { readOnly: true })
  onTestFinished(() => reader.close())
  const seen: Tid[] = []
  const stop = reader.capabilities.watching?.watch({
    after: begin,
    onAdvance: async at => void seen.push(at),
    onError: fail,
    intervalMs: HOUR_MS,
    isEager: true,
  })
  onTestFinished(() => stop?.())
  // A disk may take longer to sync than a transaction is expected: the next one is a hint again.
  const isSeen = async (store: WritableStore): Promise<boolean> => {
    const before = seen.length
    for (let attempt = 0; attempt < 20; attempt++) {
      await commit(store, await store.lastTid())
      await sleep(150)
      if (seen.length > before) return true
    }
    return false
  }
  expect(await isSeen(first)).toBe(true)
  await first.close()
  await sleep(600)
  const second = await openDatabase(path)
  onTestFinished(() => second.close())
  expect(await isSeen(second)).toBe(true)
})
