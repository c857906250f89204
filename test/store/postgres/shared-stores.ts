/** Stores that write one database on a server beside each other. */
import { TID_NONE, type Oid, type Tid } from '../../../store/ids.ts'
import { openPostgresStore } from '../../../store/postgres/open-postgres-store.ts'
import type { WritableStore } from '../../../store/store.ts'

export const openShared = async (url: string): Promise<WritableStore> =>
  (await openPostgresStore(url, { create: true, isShared: true })) as WritableStore

/** A store that does not have the lease. */
export async function openReleased(url: string): Promise<WritableStore> {
  const store = await openShared(url)
  await store.capabilities.leasing?.release()
  return store
}

export async function commitOne(store: WritableStore): Promise<{ readonly oid: Oid; readonly tid: Tid }> {
  const oid = (await store.allocateOids(1)).first
  return {
    oid,
    tid: await store.commit({ changes: [{ oid, base: TID_NONE, record: { head: Uint8Array.of(7) } }] }),
  }
}
