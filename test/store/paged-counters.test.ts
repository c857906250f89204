import { expect, test } from 'vitest'
import { PagedCounters } from '../../store/paged-counters.ts'

const PAGE = 4096

test('counters count, in memory and beyond its bound', () => {
  const counters = new PagedCounters()
  const pages = 1200
  for (let page = 0; page < pages; page++) for (const index of [0, page]) counters.add(page * PAGE + index, 1)
  for (let page = 2; page < pages; page += 2) expect(counters.add(page * PAGE, -1)).toBe(0)
  expect([0, 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 2].map(index => counters.get(index))).toEqual([
    2, 0, 1, 1, 0, 1,
  ])
  expect(counters.get(1e12)).toBe(0)
  counters.close()
})

test('find skips pages that are not there', () => {
  const counters = new PagedCounters()
  counters.add(5, 1)
  counters.add(7 * PAGE + 3, 2)
  expect(counters.find(true, 0, 1e9)).toBe(5)
  expect(counters.find(true, 6, 1e9)).toBe(7 * PAGE + 3)
  expect(counters.find(true, 7 * PAGE + 4, 1e9)).toBe(1e9)
  expect(counters.find(false, 5, 1e9)).toBe(6)
  expect(counters.find(false, 7 * PAGE + 3, 7 * PAGE + 4)).toBe(7 * PAGE + 4)
  counters.close()
})

test('a counter below zero is an error', () => {
  const counters = new PagedCounters()
  expect(() => counters.add(1, -1)).toThrow(RangeError)
  counters.close()
})
