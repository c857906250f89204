/** Connections that are cut, and writers that lose their right to write. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { WriterGoneError } from '../../../store/errors.ts'
import { TID_MAX, TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import { ALL_MOMENTS } from '../../../store/kept-moments.ts'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import { FaultProxy } from '../../tools/fault-proxy.ts'
import { hasPostgres, makePostgresDatabase, type TestPostgresDatabase } from '../../tools/postgres-server.ts'

interface Setting {
  readonly database: TestPostgresDatabase
  readonly proxy: FaultProxy
  /** Through the proxy. */
  readonly store: WritableStore
  readonly warnings: string[]
}

async function open(url: string, warnings: string[] = []): Promise<WritableStore> {
  const warn = (message: string): void => void warnings.push(message)
  return (await openPostgresStore(url, { create: true, warn })) as WritableStore
}

const record = (bytes: number, value: number): Uint8Array => new Uint8Array(bytes).fill(value)

async function add(store: WritableStore, bytes: number, value: number): Promise<{ oid: Oid; tid: Tid }> {
  const oid = (await store.allocateOids(1)).first
  const source = { head: Uint8Array.of(1), body: [record(bytes, value)] }
  return { oid, tid: await store.commit({ changes: [{ oid, base: TID_NONE, record: source }] }) }
}

async function tidsOf(store: Store): Promise<readonly Tid[]> {
  const tids: Tid[] = []
  for await (const { tid } of store.transactions()) tids.push(tid)
  return tids
}

describe.skipIf(!hasPostgres)('PostgreSQL: faults', () => {
  let proxy: FaultProxy | undefined
  beforeAll(async () => {
    const { server } = await makePostgresDatabase()
    proxy = await FaultProxy.start(server.directory)
  })
  afterAll(async () => await proxy?.stop())

  async function set(): Promise<Setting> {
    if (proxy === undefined) throw new Error('no proxy')
    const database = await makePostgresDatabase()
    const warnings: string[] = []
    const url = `postgres:///${database.name}?host=${proxy.directory}&user=postgres`
    const store = await open(url, warnings)
    onTestFinished(async () => {
      await store.close()
      await database.remove()
    })
    return { database, proxy, store, warnings }
  }

  // A small transaction is one statement; a long one a pipeline that ends with COMMIT.
  const sizes = [
    ['small', 100, 'zblkfs_add_all'],
    ['long', 3_000_000, 'zblkfs_add_transaction'],
  ] as const

  for (const cut of ['request', 'answer'] as const)
    test.each(sizes)(
      `a commit whose ${cut} is lost is stored once: a %s one`,
      async (_name, bytes, marker) => {
        const { proxy, store, warnings } = await set()
        const first = await add(store, 10, 1)
        const cuts = proxy.cuts
        proxy.cutAt(marker, cut)
        const second = await add(store, bytes, 2)
        expect(proxy.cuts).toBe(cuts + 1)
        expect(warnings.join()).toContain('connected to')
        const third = await add(store, 10, 3)
        expect(await tidsOf(store)).toEqual([first.tid, second.tid, third.tid])
        const [found] = await store.load([second.oid], TID_MAX)
        expect(Buffer.compare(found?.record.subarray(1) ?? record(0, 0), record(bytes, 2))).toBe(0)
        expect(store.capabilities.connection?.state()).toEqual({ state: 'connected' })
      },
    )

  test('reads survive the loss of their connections', async () => {
    const { proxy, store } = await set()
    const { oid } = await add(store, 200_000, 7)
    for (let round = 0; round < 3; round++) {
      const reading = Promise.all(Array.from({ length: 8 }, () => store.load([oid], TID_MAX)))
      proxy.cutAll()
      for (const [found] of await reading) expect(found?.record.length).toBe(200_001)
    }
  })

  test('a writer that lost its connection is fenced by the next writer', async () => {
    const { database, proxy, store, warnings } = await set()
    const first = await add(store, 10, 1)
    proxy.isRefusing = true
    onTestFinished(() => void (proxy.isRefusing = false))
    proxy.cutAll()
    await vi.waitFor(() =>
      expect(store.capabilities.connection?.state()).toMatchObject({ state: 'reconnecting' }),
    )
    const other = await open(database.url)
    const second = await add(other, 10, 2)
    proxy.isRefusing = false
    await expect(add(store, 10, 3)).rejects.toThrow(WriterGoneError)
    await expect(add(store, 10, 3)).rejects.toThrow('another writer')
    expect(store.capabilities.connection?.state()).toMatchObject({ state: 'fenced' })
    expect(warnings.join()).toContain('cannot be written here any more')
    expect(await tidsOf(store), 'it can be read').toEqual([first.tid, second.tid])
    await expect(store.capabilities.packing?.keep(ALL_MOMENTS)).rejects.toThrow(WriterGoneError)
    await other.close()
  })

  test('pins are restored in a new session', async () => {
    const { database, store } = await set()
    const { tid } = await add(store, 10, 1)
    await store.capabilities.pinning?.pin([tid])
    await database.execute(
      `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`,
    )
    await vi.waitFor(async () => expect(await store.capabilities.pinning?.pinned()).toEqual([tid]), {
      timeout: 10_000,
    })
  })
})
