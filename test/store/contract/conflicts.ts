import { ConflictError } from '../../../store/errors.ts'
import { TID_MAX, TID_NONE } from '../../../store/ids.ts'
import type { NewTransaction } from '../../../store/store.ts'
import { expectBytes } from '../history.ts'
import { describe, expect, test } from 'vitest'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

/** Changes made from an older state, and objects that cease to exist. */
export function conflictContract(name: string, make: MakeDatabase): void {
  describe(`${name}: conflicts`, () => {
    const at = new OpenedDatabase(make)

    test('a change based on an older state is a conflict, and its transaction stores nothing', async () => {
      const { oid, tid } = await at.add(Uint8Array.of(1))
      const newer = await at.store.commit({
        changes: [{ oid, base: tid, record: { head: Uint8Array.of(2) } }],
      })
      const bystander = (await at.store.allocateOids(1)).first
      const late: NewTransaction = {
        changes: [
          { oid: bystander, base: TID_NONE, record: { head: new Uint8Array(100_000) } },
          { oid, base: tid, record: { head: Uint8Array.of(3) } },
        ],
      }
      const error = await at.store.commit(late).catch((reason: unknown) => reason)
      expect(error).toBeInstanceOf(ConflictError)
      expect(error).toMatchObject({ oid, base: tid, current: newer })
      expect(await at.loadOne(bystander)).toBeUndefined()
      expectBytes(await at.loadOne(oid), Uint8Array.of(2), 'the record')
      expect(await at.store.lastTid()).toBe(newer)
      expect(
        await at.store.commit({ changes: [{ oid, base: newer, record: { head: Uint8Array.of(4) } }] }),
      ).toBeGreaterThan(newer)
    })

    test('the base of a change may be any moment since the last change of the object', async () => {
      const { oid, tid } = await at.add(Uint8Array.of(1))
      const { tid: later } = await at.add(Uint8Array.of(9))
      const changed = await at.store.commit({
        changes: [{ oid, base: later, record: { head: Uint8Array.of(2) } }],
      })
      const changes = [{ oid, base: later, record: { head: Uint8Array.of(3) } }]
      await expect(at.store.commit({ changes })).rejects.toThrow(ConflictError)
      expect(await at.store.revisions(oid)).toEqual([changed, tid])
    })

    test('an existing object is a conflict for a transaction that creates it', async () => {
      const { oid } = await at.add(Uint8Array.of(1))
      const changes = [{ oid, base: TID_NONE, record: { head: Uint8Array.of(2) } }]
      await expect(at.store.commit({ changes })).rejects.toThrow(ConflictError)
    })

    test('an un-created object is absent from then on, stays in the past, and can be created again', async () => {
      const { oid, tid } = await at.add(Uint8Array.of(1))
      const gone = await at.store.commit({ changes: [{ oid, base: tid, record: null }] })
      expect(await at.loadOne(oid)).toBeUndefined()
      expect(await at.store.loadPart(oid, TID_MAX, 0, 1)).toBeUndefined()
      expectBytes(await at.loadOne(oid, tid), Uint8Array.of(1), 'the record')
      const back = await at.store.commit({
        changes: [{ oid, base: gone, record: { head: Uint8Array.of(3) } }],
      })
      expectBytes(await at.loadOne(oid), Uint8Array.of(3), 'the record')
      expect(await at.loadOne(oid, gone)).toBeUndefined()
      expect(await at.store.revisions(oid)).toEqual([back, gone, tid])
    })
  })
}
