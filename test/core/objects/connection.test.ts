import { setImmediate as nextTurn } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { OOBTree } from '../../../core/btree/tree.ts'
import { Connection } from '../../../core/objects/connection.ts'
import { PersistentMapping } from '../../../core/objects/persistent-mapping.ts'
import { Ref } from '../../../core/objects/pickle/value.ts'
import {
  CannotOpenError,
  ConflictError,
  CorruptRecordError,
  ObjectNotFoundError,
  ReadOnlyError,
} from '../../../store/errors.ts'
import { oid, TID_NONE, type Oid } from '../../../store/ids.ts'
import { collectGarbage } from '../../tools/collect-garbage.ts'
import { TestStore } from '../../tools/test-store.ts'

const OPTIONS = { cacheSizeBytes: 1 << 20 }

let store: TestStore
let connection: Connection
beforeEach(async () => {
  store = new TestStore()
  connection = await Connection.open(store, OPTIONS)
})

async function commit(): Promise<void> {
  await connection.prepare()
  await connection.commit()
}

async function stored(of: Oid): Promise<PersistentMapping> {
  const other = await Connection.open(store, OPTIONS)
  const mapping = other.get(of, PersistentMapping.CLASS_NAME) as PersistentMapping
  await mapping.activate()
  return mapping
}

async function mapping(entries: Record<string, number>): Promise<PersistentMapping> {
  const made = await connection.create(PersistentMapping)
  for (const [key, value] of Object.entries(entries)) made.set(key, value)
  return made
}

describe('Connection', () => {
  it('reports a database without a root as not initialised', async () => {
    await expect(connection.root()).rejects.toThrow(CannotOpenError)
    connection.createRoot().set('a', 1)
    await commit()
    expect((await (await Connection.open(store, OPTIONS)).root()).get('a')).toBe(1)
  })

  it('yields while it serialises, and concurrent reads see all pending objects', async () => {
    const made: PersistentMapping[] = []
    for (let i = 0; i < 20_000; i++) made.push(await mapping({ i }))
    const [first, last] = [made[0] as PersistentMapping, made.at(-1) as PersistentMapping]
    const prepared = connection.prepare().then(() => true)
    let turns = 0
    while (!(await Promise.race([prepared, nextTurn(false)]))) {
      turns++
      first.deactivate()
      await Promise.all([first.activate(), last.activate()])
      expect([first.get('i'), last.get('i')]).toEqual([0, 19_999])
    }
    expect(turns).toBeGreaterThan(2)
    await connection.commit()
    expect((await stored(last.oid)).get('i')).toBe(19_999)
  })

  it('has one object per oid', async () => {
    const made = await mapping({ a: 1 })
    await commit()
    expect(connection.get(made.oid, made.className)).toBe(made)
    made.deactivate()
    expect(made.status).toBe('ghost')
    await Promise.all([made.activate(), made.activate(), connection.loadMany([made])])
    expect(made.get('a')).toBe(1)
    expect(store.reads.records).toBe(1)
  })

  it('holds ghosts weakly', async () => {
    for (let i = 0; i < 100; i++) connection.get(oid(1000 + i), PersistentMapping.CLASS_NAME)
    await collectGarbage()
    expect(connection.statistics().classes).toEqual({})
  })

  it('reads pending objects like stored ones', async () => {
    const made = await mapping({ a: 1 })
    await connection.prepare()
    made.deactivate()
    await made.activate()
    expect([made.get('a'), made.tid, store.reads.records]).toEqual([1, TID_NONE, 0])
    made.set('a', 2)
    await commit()
    expect((await stored(made.oid)).get('a')).toBe(2)
  })

  it('commits exactly the prepared objects', async () => {
    const made = await mapping({ a: 1 })
    await connection.prepare()
    made.set('a', 2)
    await connection.commit()
    expect((await stored(made.oid)).get('a')).toBe(1)
    expect(connection.hasPending).toBe(true)
    await commit()
    expect((await stored(made.oid)).get('a')).toBe(2)
    expect(connection.hasPending).toBe(false)
  })

  it('accepts changes during a commit, and bases them on it', async () => {
    const made = await mapping({ a: 1 })
    await commit()
    for (const outcome of ['succeeds', 'fails', 'succeeds']) {
      made.set('a', Number(made.get('a')) + 1)
      await connection.prepare()
      let settle = (): void => {}
      store.beforeCommit = () =>
        new Promise((resolve, reject) => {
          settle = () => (outcome === 'fails' ? reject(new Error('disk full')) : resolve())
        })
      const committing = connection.commit()
      made.set('a', Number(made.get('a')) + 1)
      await connection.prepare()
      made.deactivate()
      await made.activate()
      settle()
      if (outcome === 'fails') await expect(committing).rejects.toThrow('disk full')
      else await committing
      store.beforeCommit = () => Promise.resolve()
      expect(connection.dirtyBytes).toBeGreaterThan(0)
      await connection.commit()
      expect(connection.dirtyBytes).toBe(0)
      expect((await stored(made.oid)).get('a')).toBe(made.get('a'))
    }
    expect(made.get('a')).toBe(7)
  })

  it('reports a conflict, keeps pending objects, and is usable after an abort', async () => {
    const made = await mapping({ a: 1 })
    await commit()
    const other = await Connection.open(store, OPTIONS)
    const theirs = other.get(made.oid, made.className) as PersistentMapping
    await theirs.activate()
    theirs.set('a', 5)
    await other.prepare()
    await other.commit()
    made.set('a', 2)
    await connection.prepare()
    await expect(connection.commit()).rejects.toThrow(ConflictError)
    await expect(connection.commit()).rejects.toThrow(ConflictError)
    await connection.abort()
    connection.advance(other.at, [made.oid])
    await made.activate()
    expect(made.get('a')).toBe(5)
    made.set('a', 6)
    await commit()
    expect((await stored(made.oid)).get('a')).toBe(6)
  })

  it('discards new and changed objects on abort', async () => {
    const made = await mapping({ a: 1 })
    await commit()
    made.set('a', 2)
    const never = await mapping({ b: 1 })
    await connection.prepare()
    made.set('a', 3)
    await connection.abort()
    await made.activate()
    expect(made.get('a')).toBe(1)
    await expect(never.activate()).rejects.toThrow(ObjectNotFoundError)
    expect([connection.hasPending, connection.dirtyBytes]).toEqual([false, 0])
  })

  it('refuses changes at a past moment', async () => {
    const made = await mapping({ a: 1 })
    await commit()
    const { at } = connection
    made.set('a', 2)
    await commit()
    const past = await Connection.open(store, { ...OPTIONS, at })
    const before = past.get(made.oid, made.className) as PersistentMapping
    await before.activate()
    expect(before.get('a')).toBe(1)
    expect(() => before.set('a', 3)).toThrow(ReadOnlyError)
    await expect(past.create(OOBTree)).rejects.toThrow(ReadOnlyError)
  })

  it('reports an object whose class is unknown or differs from its reference', async () => {
    const made = await mapping({})
    await commit()
    const other = await Connection.open(store, OPTIONS)
    await expect(other.get(made.oid, OOBTree.CLASS_NAME).activate()).rejects.toThrow(CorruptRecordError)
    expect(() => other.resolve(new Ref(oid(99), 'some.Class'))).toThrow(CorruptRecordError)
  })

  it('keeps live objects within its bound', async () => {
    const oids: Oid[] = []
    for (let i = 0; i < 300; i++) {
      const made = await connection.create(PersistentMapping)
      made.set('text', 'x'.repeat(5000))
      oids.push(made.oid)
    }
    await commit()
    for (const of of oids) await connection.get(of, PersistentMapping.CLASS_NAME).activate()
    await new Promise(resolve => setImmediate(resolve))
    const { classes, cacheBytes } = connection.statistics()
    expect(cacheBytes).toBeLessThanOrEqual(2 << 20)
    expect(classes[PersistentMapping.CLASS_NAME]!.upToDate).toBeLessThan(110)
  })
})
