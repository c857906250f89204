import { describe, expect, test } from 'vitest'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import type { WritableStore } from '../../../store/store.ts'
import { FaultProxy } from '../../tools/fault-proxy.ts'
import { hasPostgres, makePostgresDatabase, type TestPostgresDatabase } from '../../tools/postgres-server.ts'
import { leasingContract } from '../contract/leasing.ts'

const openShared = async (url: string): Promise<WritableStore> =>
  (await openPostgresStore(url, { create: true, isShared: true })) as WritableStore

const throughProxy = ({ name }: TestPostgresDatabase, proxy: FaultProxy): string =>
  `postgres:///${name}?host=${proxy.directory}&user=postgres`

describe.skipIf(!hasPostgres)('PostgreSQL', () => {
  leasingContract('the PostgreSQL store', async () => {
    const database = await makePostgresDatabase()
    const proxies = new Map<WritableStore, FaultProxy>()
    return {
      open: async () => {
        const proxy = await FaultProxy.start(database.server.directory)
        const store = await openShared(throughProxy(database, proxy))
        proxies.set(store, proxy)
        return store
      },
      cutOff: store => {
        const proxy = proxies.get(store)
        if (proxy === undefined) throw new Error('not opened here')
        proxy.isRefusing = true
        proxy.cutAll()
        return Promise.resolve(() => {
          proxy.isRefusing = false
          return Promise.resolve()
        })
      },
      remove: async () => {
        for (const proxy of proxies.values()) await proxy.stop()
        await database.remove()
      },
    }
  })

  test('a writer that is alone is refused beside others, and refuses them', async () => {
    const database = await makePostgresDatabase()
    try {
      const shared = await openShared(database.url)
      await expect(openPostgresStore(database.url)).rejects.toMatchObject({ code: 'locked' })
      await shared.close()
      const alone = await openPostgresStore(database.url)
      await expect(openShared(database.url)).rejects.toMatchObject({ code: 'locked' })
      await alone.close()
      await (await openShared(database.url)).close()
    } finally {
      await database.remove()
    }
  })
})
