import { stat } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { pack } from '../../../core/pack/pack.ts'
import { TID_MAX, type Tid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open-sqlite-store.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'
import { checkTables, ObjectModel, seeded, storedRevisions } from './object-model.ts'

const SEEDS = Array.from({ length: 12 }, (_, index) => index + 1)

test.each(SEEDS)('what kept moments see stays, everything else goes: seed %i', async seed => {
  const random = seeded(seed)
  const path = temporaryDatabase()
  let store = await openSqliteStore(path, { create: true })
  const model = new ObjectModel(random)
  let packedFrom = 0n as Tid
  let tags: Tid[] = []
  for (let round = 0; round < 4; round++) {
    for (let count = 0; count < 5 + random(40); count++) {
      const tid = await model.commit(store)
      if (random(8) === 0) tags.push(tid)
    }
    tags = tags.filter(() => random(5) > 0)
    const chosen = model.tids[random(model.tids.length)] as Tid
    const from = random(4) === 0 ? TID_MAX : chosen
    await pack(store, { from, moments: () => Promise.resolve(tags) })
    const at = from === TID_MAX ? (model.tids.at(-1) as Tid) : from
    if (at > packedFrom) packedFrom = at
    const expected = model.expected(packedFrom, tags)
    expect(storedRevisions(path)).toEqual(expected)
    model.forget(expected)
    checkTables(path)
    for (const moment of [...tags, ...model.tids.filter(tid => tid >= packedFrom)]) {
      expect(await store.isKept(moment)).toBe(true)
      await model.check(store, moment)
    }
    for (const moment of model.tids)
      if (moment < packedFrom && !tags.includes(moment)) expect(await store.isKept(moment)).toBe(false)
    if (random(2) === 0) {
      await store.close()
      store = await openSqliteStore(path)
    }
  }
  await store.close()
  expect((await stat(path)).size).toBeGreaterThan(0)
})
