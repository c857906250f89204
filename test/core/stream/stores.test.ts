/** Streams between databases of every kind. */
import { expect, onTestFinished, test } from 'vitest'
import { receive, send, sizeToSend } from '../../../core/database/streams.ts'
import { formatTid } from '../../../store/ids.ts'
import { openDatabase } from '../../../store/open-store.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import { writeRandomHistory } from '../../store/contract/random-history.ts'
import { expectAll } from '../../store/history.ts'
import { hasPostgres, makePostgresDatabase } from '../../tools/postgres-server.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

const TIMEOUT_MS = 120_000

const PLACES: readonly (readonly [from: string, to: string])[] = [
  ['a file', 'a file'],
  ...(hasPostgres ? [['a file', 'a server'] as const, ['a server', 'a file'] as const] : []),
]

async function makeName(place: string): Promise<string> {
  if (place !== 'a server') return temporaryDatabase()
  const database = await makePostgresDatabase()
  onTestFinished(async () => await database.remove())
  return database.url
}

async function using<S extends Store, T>(opening: Promise<S>, use: (store: S) => Promise<T>): Promise<T> {
  const store = await opening
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

test.each(PLACES)('from %s to %s', { timeout: TIMEOUT_MS }, async (from, to) => {
  const [source, target] = [await makeName(from), await makeName(to)]
  const history = await using(openDatabase(source, { create: true }), (store: WritableStore) =>
    writeRandomHistory(store, 11),
  )
  const middle = formatTid(history[12]!.tid)
  await receive(target, send(source, { to: middle }))
  const { transactions } = await sizeToSend(source, { from: middle })
  expect(transactions).toBe(history.length - 13)
  expect(await receive(target, send(source, { from: middle }))).toMatchObject({
    transactions,
    tid: formatTid(history.at(-1)!.tid),
  })
  await using(openDatabase(target, { readOnly: true }), store => expectAll(store, history))
  const bytesOf = (name: string): Promise<number | undefined> =>
    using(
      openDatabase(name, { readOnly: true }),
      async store => (await store.capabilities.measuring?.all())?.bytes,
    )
  const [sent, received] = [(await bytesOf(source)) ?? 0, (await bytesOf(target)) ?? 0]
  expect(Math.abs(sent - received)).toBeLessThan(sent / 20)
})
