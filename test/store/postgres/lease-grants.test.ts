/** Grants of the lease that are lost, late, or not used, and what a store does without one. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { parseAddress } from '../../../store/postgres/address.ts'
import { RELEASE } from '../../../store/postgres/lease-session.ts'
import { COMMIT_LOCK, LOCK_CLASS } from '../../../store/postgres/schema.ts'
import { Session } from '../../../store/postgres/session.ts'
import { hasPostgres, makePostgresDatabase } from '../../tools/postgres-server.ts'
import { commitOne, openReleased, openShared } from './shared-stores.ts'

describe.skipIf(!hasPostgres)('PostgreSQL: grants of the lease', () => {
  test('a release that the server executes late does not release the next grant', async () => {
    const database = await makePostgresDatabase()
    const session = await Session.open(parseAddress(database.url))
    const stores = [await openReleased(database.url), await openReleased(database.url)]
    try {
      const [first, second] = stores.map(store => store.capabilities.leasing)
      await first?.acquire()
      const [[epoch, grants] = []] = await session.query('SELECT epoch, grants FROM zblkfs.lease')
      const late = [epoch ?? null, grants ?? null]
      await first?.release()
      await second?.acquire()
      await second?.release()
      await first?.acquire()
      expect(await session.query(RELEASE, late)).toEqual([])
      expect(await session.query('SELECT epoch FROM zblkfs.lease')).toEqual([[epoch]])
      await first?.confirm()
    } finally {
      session.close()
      for (const store of stores) await store.close()
      await database.remove()
    }
  })

  test('a store that releases a grant that it has not used reads what others have committed before', async () => {
    const database = await makePostgresDatabase()
    const session = await Session.open(parseAddress(database.url))
    const stores = [await openReleased(database.url), await openReleased(database.url)]
    try {
      const [one, two] = stores
      if (one === undefined || two === undefined) throw new Error('two stores')
      await two.capabilities.leasing?.acquire()
      const { oid, tid } = await commitOne(two)
      await two.capabilities.leasing?.release()
      // A request whose answer was lost, executed late.
      await session.query('SELECT zblkfs.take_lease(min(epoch)) FROM zblkfs.writer WHERE NOT fenced')
      await one.capabilities.leasing?.release()
      expect(await one.capabilities.leasing?.acquire()).toBe(tid)
      expect((await commitOne(one)).oid).toBeGreaterThan(oid)
    } finally {
      session.close()
      for (const store of stores) await store.close()
      await database.remove()
    }
  })

  test('an object is not stored with the oid of one that another writer has stored meanwhile', async () => {
    const database = await makePostgresDatabase()
    const store = await openShared(database.url)
    try {
      const { oid } = await commitOne(store)
      await database.execute(`INSERT INTO zblkfs.revision (oid, tid, len, sum) VALUES (${oid + 1}, 1, 0, 0)`)
      await expect(commitOne(store)).rejects.toMatchObject({ code: 'conflict' })
    } finally {
      await store.close()
      await database.remove()
    }
  })

  test('a grant that the server has lost in a failover counts no more', async () => {
    const database = await makePostgresDatabase()
    const session = await Session.open(parseAddress(database.url))
    const stores = [await openReleased(database.url), await openReleased(database.url)]
    try {
      const [one, two] = stores.map(store => store.capabilities.leasing)
      await one?.acquire()
      one?.watch({ onRecall: () => void one.release() })
      await two?.acquire()
      await two?.release()
      await session.query(
        'UPDATE zblkfs.lease SET grants = 0, epoch = (SELECT min(epoch) FROM zblkfs.writer WHERE NOT fenced)',
      )
      one?.watch({ onRecall: () => undefined })
      const acquired = two?.acquire().then(() => 'acquired')
      expect(await Promise.race([acquired, sleep(700, 'waits')])).toBe('waits')
      await session.query('SELECT zblkfs.release_lease(epoch) FROM zblkfs.lease')
      expect(await acquired).toBe('acquired')
    } finally {
      session.close()
      for (const store of stores) await store.close()
      await database.remove()
    }
  })

  test('a holder finds out that it no longer has the lease', async () => {
    const database = await makePostgresDatabase()
    const stores = [await openReleased(database.url), await openReleased(database.url)]
    try {
      const [leasing] = stores.map(store => store.capabilities.leasing)
      await leasing?.acquire()
      const session = await Session.open(parseAddress(database.url))
      await session.query('UPDATE zblkfs.lease SET epoch = NULL, grants = grants + 1')
      session.close()
      await expect(leasing?.confirm()).rejects.toMatchObject({ code: 'fenced' })
    } finally {
      for (const store of stores) await store.close()
      await database.remove()
    }
  })

  test('a holder whose heartbeat arrives while it is being fenced keeps the lease', async () => {
    const database = await makePostgresDatabase()
    const address = parseAddress(database.url)
    const committing = await Session.open(address)
    const taking = await Session.open(address)
    try {
      await (await openShared(database.url)).close()
      await database.execute(
        `INSERT INTO zblkfs.writer (epoch, fenced, purpose, heartbeat) VALUES
           (100, false, 'holder', now() - interval '1 hour'), (101, false, 'waiter', now());
         UPDATE zblkfs.lease SET epoch = 100`,
      )
      await vi.waitUntil(
        async () => (await database.execute('SELECT zblkfs.is_gone(100) AS is'))[0]?.['is'],
        {
          timeout: 10_000,
        },
      )
      await committing.query('BEGIN')
      await committing.query(`SELECT pg_advisory_xact_lock(${LOCK_CLASS}, ${COMMIT_LOCK})`)
      const taken = taking.query('SELECT r_holder FROM zblkfs.take_lease(101)')
      await vi.waitUntil(
        async () =>
          (await database.execute("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
            .length > 0,
      )
      await committing.query('UPDATE zblkfs.writer SET heartbeat = clock_timestamp() WHERE epoch = 100')
      await committing.query('COMMIT')
      expect(await taken).toEqual([['100']])
      expect(await database.execute('SELECT fenced FROM zblkfs.writer WHERE epoch = 100')).toEqual([
        { fenced: false },
      ])
    } finally {
      committing.close()
      taking.close()
      await database.remove()
    }
  })
})
