/** Streams between databases of every kind. */
import { expect, onTestFinished, test } from 'vitest'
import { receive, send, sizeToSend } from '../../../core/database/streams.ts'
import { pack } from '../../../core/pack/pack.ts'
import { open } from '../../../index.ts'
import { formatTid, parseTid, TID_MAX, type Tid } from '../../../store/ids.ts'
import { openDatabase } from '../../../store/open-store.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import { writeRandomHistory } from '../../store/contract/random-history.ts'
import { expectAll } from '../../store/history.ts'
import { hasPostgres, makePostgresDatabase } from '../../tools/postgres-server.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

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

test.each(PLACES)('from %s to %s', async (from, to) => {
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

test('a copy is packed only after a stream up to the present', async () => {
  const [source, target] = [temporaryDatabase(), temporaryDatabase()]
  const written = async (text: string): Promise<string> => {
    const db = await open(source, { create: true })
    await db.files.writeFile('/a', text)
    // A record that remains, so that a pack does not drop the transaction.
    await db.files.writeFile(`/file-${text}`, text)
    const tid = await db.sync()
    await db.close()
    return tid
  }
  const needed = async (): Promise<Tid | undefined> =>
    await using(
      openDatabase(target),
      async store => (await store.capabilities.lineage?.sourceMoments())?.from,
    )
  const keptFrom = async (): Promise<Tid | undefined> =>
    await using(openDatabase(target), async store => (await store.capabilities.packing?.kept())?.from)
  await written('1')
  const first = await written('2')
  await receive(target, send(source), { pack: true })
  const second = await written('3')
  await using(openDatabase(source), store => pack(store, { from: TID_MAX }))
  const third = await written('4')
  await receive(target, send(source, { from: first, to: second }), { pack: true })
  expect(await keptFrom()).toBe(parseTid(second))
  expect(await needed()).toBe(parseTid(second))
  expect(await receive(target, send(source, { from: second }), { pack: true })).toMatchObject({ tid: third })
  expect(await keptFrom()).toBe(parseTid(second))
  const fourth = await written('5')
  expect(await receive(target, send(source, { from: third }), { pack: true })).toMatchObject({ tid: fourth })
})
