import { expect, test } from 'vitest'
import { ScratchList, ScratchMap } from '../../store/scratch-list.ts'

test('a list has its values in the order of adding, and those of a group by depth', () => {
  const list = new ScratchList<{ readonly index: number; readonly depth: number; readonly size: bigint }>()
  const all = Array.from({ length: 100 }, (_, index) => ({ index, depth: index % 7, size: 1n << 60n }))
  for (const value of all) list.add(value, value.index % 2 === 0 ? 'even' : 'odd', value.depth)
  expect(list.length).toBe(100)
  expect([...list]).toEqual(all)
  const odd = all.filter(({ index }) => index % 2 === 1)
  expect([...list.ascending('odd')]).toEqual(odd.toSorted((a, b) => a.depth - b.depth || a.index - b.index))
  expect([...list.descending('odd')]).toEqual(odd.toSorted((a, b) => b.depth - a.depth || b.index - a.index))
  expect([...list.ascending('none')]).toEqual([])
  // Two iterations at a time, and a value that is added meanwhile.
  const first = list.ascending('even')
  first.next()
  list.add({ index: 100, depth: 9, size: 0n }, 'even', 9)
  expect([...list.descending('odd')].length).toBe(50)
  expect([...first].at(-1)?.index).toBe(100)
  list.clear()
  expect([list.length, [...list]]).toEqual([0, []])
  list.close()
})

test('a table has values by number and by text', () => {
  const byNumber = new ScratchMap<number, { readonly name: string }>()
  byNumber.set(5, { name: 'a' })
  byNumber.set(5, { name: 'b' })
  byNumber.set(2 ** 40, { name: 'c' })
  expect([byNumber.get(5), byNumber.get(2 ** 40), byNumber.get(6)]).toEqual([
    { name: 'b' },
    { name: 'c' },
    undefined,
  ])
  byNumber.delete(5)
  expect([byNumber.has(5), byNumber.has(2 ** 40)]).toEqual([false, true])
  byNumber.close()
  const byText = new ScratchMap<string, string>()
  byText.set('5', 'text')
  byText.set('\xff\xfe', 'bytes')
  expect([byText.get('5'), byText.get('\xff\xfe'), byText.get('\xff')]).toEqual(['text', 'bytes', undefined])
  byText.clear()
  expect(byText.has('5')).toBe(false)
  byText.close()
})
