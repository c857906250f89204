import { expect, test } from 'vitest'
import { DifferingNames } from '../../../core/history/differing-names.ts'
import { oid } from '../../../store/ids.ts'
import { random } from '../../store/contract/random-history.ts'

test.each([0, 1, 7, 10_000])('names are the same in memory and on disk, %i of them in memory', memory => {
  const names = new DifferingNames(memory)
  const expected = new Map<number, { oid: number; removed: object[]; added: object[] }>()
  const next = random(5)
  for (let i = 0; i < 2000; i++) {
    const of = oid(Math.floor(next() * 600))
    const side = next() < 0.5 ? 'removed' : 'added'
    const place = { parent: oid(Math.floor(next() * 50)), name: `\xff\0${i}` }
    names.add(side, of, place)
    const entry = expected.get(of) ?? { oid: of, removed: [], added: [] }
    entry[side].push(place)
    expected.set(of, entry)
  }
  expect([...names].sort((a, b) => a.oid - b.oid)).toEqual(
    [...expected.values()].sort((a, b) => a.oid - b.oid),
  )
  for (let of = 0; of < 601; of++) {
    const { removed = [], added = [] } = expected.get(of) ?? {}
    expect(names.isRenamed(oid(of))).toBe(removed.length > 0 && added.length > 0)
  }
  names.close()
})
