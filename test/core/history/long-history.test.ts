/** Long histories: reading one neither blocks the event loop nor takes memory in proportion to it. */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { differences } from '../../../core/history/difference.ts'
import { log } from '../../../core/history/log.ts'
import { MomentView } from '../../../core/history/moment-view.ts'
import type { Tid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'

const TRANSACTIONS = 400
const VIEWS = 100
const VIEW_BYTES_MAX = 200_000

async function longHistory(): Promise<Store> {
  const path = temporaryDatabase()
  const paths = await openPaths(path, { commitIntervalMs: 1e8 })
  for (let index = 0; index < TRANSACTIONS; index++) {
    await paths.write(`file-${index}`, Buffer.from(`${index}`))
    await paths.fs.sync()
  }
  await paths.fs.close()
  return await openSqliteStore(path, { readOnly: true })
}

async function firstTransaction(store: Store): Promise<Tid> {
  for await (const { tid } of store.transactions({ limit: 1 })) return tid
  throw new Error('there is no transaction')
}

/** The turns of the event loop during some work. */
async function turnsDuring(work: () => AsyncIterable<unknown>): Promise<{ turns: number; found: number }> {
  let [turns, found] = [0, 0]
  const counting = new AbortController()
  const count = async (): Promise<void> => {
    for (; !counting.signal.aborted; turns++) await nextTurn()
  }
  const counted = count()
  for await (const _ of work()) found++
  counting.abort()
  await counted
  return { turns, found }
}

test('other work is done while a long history is listed or compared', async () => {
  const store = await longHistory()
  const logged = await turnsDuring(() => log(store))
  expect(logged.found).toBe(TRANSACTIONS + 1)
  expect(logged.turns).toBeGreaterThan(2)

  const first = await firstTransaction(store)
  const last = await store.lastTid()
  const differing = await turnsDuring(() => differences(store, first, last))
  expect(differing.found).toBeGreaterThanOrEqual(TRANSACTIONS)
  expect(differing.turns).toBeGreaterThan(2)
  await store.close()
})

test('a view of the past takes memory by what it has looked up', async () => {
  const store = await longHistory()
  const at = await store.lastTid()
  const views = [await MomentView.open(store, at)]
  const before = process.memoryUsage()
  while (views.length <= VIEWS) views.push(await MomentView.open(store, at))
  const after = process.memoryUsage()
  const bytes = after.heapUsed + after.external - before.heapUsed - before.external
  expect(bytes / VIEWS).toBeLessThan(VIEW_BYTES_MAX)
  expect(views[0]?.at).toBe(at)
  await store.close()
})
