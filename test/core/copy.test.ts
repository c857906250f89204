/** Copies of databases, from every kind of place to every other. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { copyDatabase } from '../../core/copy/copy-database.ts'
import { TID_MAX, TID_NONE, type Oid, type Tid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { Store, WritableStore } from '../../store/store.ts'
import { writeRandomHistory } from '../store/contract/random-history.ts'
import { expectAll } from '../store/history.ts'
import { hasPostgres, makePostgresDatabase } from '../tools/postgres-server.ts'

const PLACES = ['a file', ...(hasPostgres ? ['a server'] : [])]

async function makeName(place: string): Promise<string> {
  if (place === 'a server') {
    const database = await makePostgresDatabase()
    onTestFinished(async () => await database.remove())
    return database.url
  }
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-copy-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'db')
}

const silent = { onProgress: () => undefined }

async function reading<T>(name: string, use: (store: Store) => Promise<T>): Promise<T> {
  const store = await openDatabase(name, { readOnly: true })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

async function writing<T>(name: string, use: (store: WritableStore) => Promise<T>): Promise<T> {
  const store = await openDatabase(name, { create: true })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

/** Adds an object of many bytes, and as many that share them. */
async function addShared(store: WritableStore, bytes: number, copies: number): Promise<void> {
  const { first } = await store.allocateOids(1)
  const body = [Buffer.alloc(bytes, 7)]
  const tid = await store.commit({
    changes: [{ oid: first, base: TID_NONE, record: { head: Uint8Array.of(1, 2), body } }],
  })
  const changes = []
  for (let index = 0; index < copies; index++) {
    const oid: Oid = (await store.allocateOids(1)).first
    const slice = { oid: first, tid, off: 2, len: bytes }
    changes.push({ oid, base: TID_NONE, record: { head: Uint8Array.of(index), body: slice } })
  }
  await store.commit({ changes })
}

const tidsOf = async (store: Store): Promise<readonly Tid[]> => {
  const tids: Tid[] = []
  for await (const { tid } of store.transactions()) tids.push(tid)
  return tids
}

describe.each(PLACES.flatMap(from => PLACES.map(to => [from, to] as const)))('from %s to %s', (from, to) => {
  test('every state is equal, shared bytes are copied once, and a copy can be resumed', async () => {
    const [sourceName, targetName] = [await makeName(from), await makeName(to)]
    const history = await writing(sourceName, store => writeRandomHistory(store, 5))
    const first = await reading(sourceName, source =>
      writing(targetName, target => copyDatabase({ source, target, ...silent })),
    )
    expect(first.transactions).toBe(history.length)
    await reading(targetName, store => expectAll(store, history))
    const before = await reading(
      targetName,
      async store => (await store.capabilities.measuring?.all())?.bytes ?? 0,
    )
    await writing(sourceName, store => addShared(store, 3_000_000, 6))
    const second = await reading(sourceName, source =>
      writing(targetName, target => copyDatabase({ source, target, ...silent })),
    )
    expect(second.transactions).toBe(2)
    const after = await reading(
      targetName,
      async store => (await store.capabilities.measuring?.all())?.bytes ?? 0,
    )
    expect(after - before).toBeLessThan(3_100_000)
    const tids = await reading(sourceName, tidsOf)
    expect(await reading(targetName, tidsOf)).toEqual(tids)
  })

  test('a target with other content is refused', async () => {
    const [sourceName, targetName] = [await makeName(from), await makeName(to)]
    await writing(sourceName, store => addShared(store, 10_000, 1))
    await writing(targetName, store => addShared(store, 20_000, 1))
    await expect(
      reading(sourceName, source =>
        writing(targetName, target => copyDatabase({ source, target, ...silent })),
      ),
    ).rejects.toThrow('name a new database')
    expect((await reading(targetName, store => store.load([], TID_MAX))).length).toBe(0)
  })
})
