import { describe, expect, test, vi } from 'vitest'
import type { ObjectChange } from '../../../store/changes.ts'
import { TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import { parseAddress } from '../../../store/postgres/address.ts'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import { COMMIT_LOCK, LOCK_CLASS } from '../../../store/postgres/schema.ts'
import { Session } from '../../../store/postgres/session.ts'
import type { WritableStore } from '../../../store/store.ts'
import { FaultProxy } from '../../tools/fault-proxy.ts'
import { hasPostgres, makePostgresDatabase, type TestPostgresDatabase } from '../../tools/postgres-server.ts'
import { fileLockingContract } from '../contract/file-locking.ts'
import { leasingContract, type LeasingSubject } from '../contract/leasing.ts'
import { commitOne, openShared } from './shared-stores.ts'

const throughProxy = ({ name }: TestPostgresDatabase, proxy: FaultProxy): string =>
  `postgres:///${name}?host=${proxy.directory}&user=postgres`

describe.skipIf(!hasPostgres)('PostgreSQL', () => {
  const make = async (): Promise<LeasingSubject> => {
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
  }
  leasingContract('the PostgreSQL store', make)
  fileLockingContract('the PostgreSQL store', make)

  describe('parts of a transaction', () => {
    const part = (oid: Oid, value: number): ObjectChange => ({
      oid,
      base: TID_NONE,
      record: { head: Uint8Array.of(value), body: [new Uint8Array(100_000).fill(value)] },
    })
    const oidOf = async (store: WritableStore): Promise<Oid> => (await store.allocateOids(1)).first
    const valueAt = async (store: WritableStore, oid: Oid, tid: Tid): Promise<number | undefined> =>
      (await store.load([oid], tid))[0]?.record[0]

    test('that a fenced writer drops are not those of the holder', async () => {
      const database = await makePostgresDatabase()
      const stores: WritableStore[] = []
      try {
        const fenced = await openShared(database.url)
        stores.push(fenced)
        await fenced.capabilities.spilling?.spill([part(await oidOf(fenced), 1)])
        const session = await Session.open(parseAddress(database.url))
        await session.query('UPDATE zblkfs.writer SET fenced = true')
        await session.query('UPDATE zblkfs.lease SET epoch = NULL, grants = grants + 1')
        session.close()
        const holder = await openShared(database.url)
        stores.push(holder)
        const kept = await oidOf(holder)
        await holder.capabilities.spilling?.spill([part(kept, 2)])
        await expect(fenced.capabilities.leasing?.confirm()).rejects.toMatchObject({ code: 'fenced' })
        await fenced.capabilities.leasing?.rejoin()
        await fenced.capabilities.spilling?.drop()
        const tid = await holder.commit({ changes: [part(await oidOf(holder), 3)] })
        expect(await valueAt(holder, kept, tid)).toBe(2)
        await holder.capabilities.leasing?.release()
        await fenced.capabilities.leasing?.acquire()
        const next = await fenced.commit({ changes: [part(await oidOf(fenced), 4)] })
        expect(await valueAt(fenced, kept, next)).toBe(2)
      } finally {
        for (const store of stores) await store.close().catch(() => undefined)
        await database.remove()
      }
    })

    test('that could not be dropped are dropped before the next transaction', async () => {
      const database = await makePostgresDatabase()
      const session = await Session.open(parseAddress(database.url))
      const store = await openShared(database.url)
      try {
        const dropped = await oidOf(store)
        await store.capabilities.spilling?.spill([part(dropped, 1)])
        await session.query('ALTER TABLE zblkfs.writer RENAME COLUMN unfinished TO hidden')
        await store.capabilities.spilling?.drop()
        await session.query('ALTER TABLE zblkfs.writer RENAME COLUMN hidden TO unfinished')
        const added = await oidOf(store)
        const tid = await store.commit({ changes: [part(added, 2)] })
        expect([await valueAt(store, dropped, tid), await valueAt(store, added, tid)]).toEqual([undefined, 2])
      } finally {
        session.close()
        await store.close()
        await database.remove()
      }
    })
  })

  test('what ended writers have left of locks is deleted when locks are next used', async () => {
    const database = await makePostgresDatabase()
    const session = await Session.open(parseAddress(database.url))
    try {
      const store = await openShared(database.url)
      await store.capabilities.fileLocking?.start()
      await session.query(`
        INSERT INTO zblkfs.file_lock SELECT 7, 0, epoch, 1, 0, 9, true, 1 FROM zblkfs.writer;
        INSERT INTO zblkfs.file_lock_wait SELECT epoch, 1, 7, 0, 9, true FROM zblkfs.writer`)
      const left =
        'SELECT (SELECT count(*) FROM zblkfs.file_lock), (SELECT count(*) FROM zblkfs.file_lock_wait)'
      await store.capabilities.leasing?.release()
      const other = await openShared(database.url)
      await other.capabilities.fileLocking?.start()
      expect(await session.query(left)).toEqual([['1', '1']])
      await other.close()
      await store.close()
      const next = await openShared(database.url)
      await next.capabilities.fileLocking?.start()
      expect(await session.query(left)).toEqual([['0', '0']])
      await next.close()
    } finally {
      session.close()
      await database.remove()
    }
  })

  test('a store that is closed while it rejoins leaves no session', async () => {
    const database = await makePostgresDatabase()
    const session = await Session.open(parseAddress(database.url))
    try {
      const store = await openShared(database.url)
      await session.query('UPDATE zblkfs.writer SET fenced = true')
      await expect(store.capabilities.leasing?.confirm()).rejects.toMatchObject({ code: 'fenced' })
      await session.query(`BEGIN; SELECT pg_advisory_xact_lock(${LOCK_CLASS}, ${COMMIT_LOCK})`)
      const rejoining = store.capabilities.leasing?.rejoin()
      const failing = expect(rejoining).rejects.toThrow('closed')
      const waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
      await vi.waitFor(async () => expect(await session.query(waiting)).toEqual([['1']]), { timeout: 10_000 })
      const closing = store.close()
      await session.query('COMMIT')
      await closing
      await failing
      const others =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
      await vi.waitFor(async () => expect(await session.query(others)).toEqual([['0']]), { timeout: 10_000 })
    } finally {
      session.close()
      await database.remove()
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

  test.each([2, 3])(
    'a database of format %d can be read, and is upgraded when it is opened for writing',
    async format => {
      const database = await makePostgresDatabase()
      try {
        const first = await openShared(database.url)
        const { oid, tid } = await commitOne(first)
        await first.close()
        await database.execute(
          `DROP TABLE zblkfs.lease, zblkfs.lease_waiter;
         DROP FUNCTION zblkfs.is_gone, zblkfs.lock_lease, zblkfs.take_lease, zblkfs.release_lease, zblkfs.recall_lease;
         ${format === 2 ? 'ALTER TABLE zblkfs.writer DROP COLUMN counter;' : ''}
         INSERT INTO zblkfs.segment (epoch, counter, bytes, units, frames) VALUES (1, 6, 0, 0, ''), (1, 7, 0, 0, '');
         UPDATE zblkfs.meta SET value = '${format}' WHERE name = 'format'`,
        )
        const reader = await openPostgresStore(database.url, { readOnly: true })
        expect((await reader.load([oid], tid))[0]?.record[0]).toBe(7)
        await reader.close()
        expect(await database.execute("SELECT value FROM zblkfs.meta WHERE name = 'format'")).toEqual([
          { value: String(format) },
        ])
        const upgraded = await openShared(database.url)
        expect((await commitOne(upgraded)).tid).toBeGreaterThan(tid)
        await upgraded.close()
        // What the bucket has beyond the segments that the tables name may be part of a later state.
        expect(await database.execute('SELECT counter::integer FROM zblkfs.writer WHERE epoch = 1')).toEqual([
          { counter: format === 2 ? 7 : 0 },
        ])
        expect(await database.execute("SELECT value FROM zblkfs.meta WHERE name = 'format'")).toEqual([
          { value: '4' },
        ])
      } finally {
        await database.remove()
      }
    },
  )

  test('the lease goes on in a database whose functions are of an earlier version', async () => {
    const database = await makePostgresDatabase()
    try {
      const one = await openShared(database.url)
      await database.execute(`
        CREATE OR REPLACE FUNCTION zblkfs.release_lease(p_epoch bigint) RETURNS bigint LANGUAGE plpgsql AS $$
        DECLARE
          v_next bigint;
        BEGIN
          DELETE FROM zblkfs.lease_waiter WHERE since = (SELECT min(since) FROM zblkfs.lease_waiter) RETURNING epoch INTO v_next;
          UPDATE zblkfs.lease SET epoch = v_next, grants = grants + 1 WHERE epoch = p_epoch;
          PERFORM pg_notify('zblkfs_lease', 'free ' || coalesce(v_next, 0));
          RETURN NULL;
        END $$`)
      one.capabilities.leasing?.watch({ onRecall: () => void one.capabilities.leasing?.release() })
      const two = await openShared(database.url)
      await commitOne(two)
      const acquired = one.capabilities.leasing?.acquire()
      await two.capabilities.leasing?.release()
      await acquired
      await commitOne(one)
      await one.close()
      await two.close()
    } finally {
      await database.remove()
    }
  })

  test('the parts of a transaction are removed, however many writers have opened the database since', async () => {
    const database = await makePostgresDatabase()
    try {
      await (await openShared(database.url)).close()
      await database.execute(
        `INSERT INTO zblkfs.writer (epoch, fenced, purpose, unfinished)
           SELECT epoch, true, 'gone', CASE epoch WHEN 5 THEN 7 END FROM generate_series(5, 150) AS epoch;
         INSERT INTO zblkfs.revision (oid, tid, len, sum, head) VALUES (1000, 7, 0, 0, 'part')`,
      )
      await (await openShared(database.url)).close()
      expect(await database.execute('SELECT oid FROM zblkfs.revision WHERE tid = 7')).toEqual([])
    } finally {
      await database.remove()
    }
  })

  test('opening the database does not wait for a writer whose machine is gone', async () => {
    const database = await makePostgresDatabase()
    const proxy = await FaultProxy.start(database.server.directory)
    try {
      const gone = await openShared(throughProxy(database, proxy))
      proxy.isRefusing = true
      proxy.cutAll()
      const start = performance.now()
      const next = await openShared(database.url)
      expect(performance.now() - start).toBeLessThan(10_000)
      await commitOne(next)
      await next.close()
      await gone.close()
    } finally {
      await proxy.stop()
      await database.remove()
    }
  })
})
