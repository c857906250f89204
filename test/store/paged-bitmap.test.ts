import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { PagedBitmap } from '../../store/paged-bitmap.ts'

/** Near the borders of pages, and far away. */
const PAGE = 16_384 * 8
const someIndex = fc
  .tuple(fc.constantFrom(0, PAGE, 5 * PAGE, 2 ** 40), fc.integer({ min: -40, max: 40 }))
  .map(([base, near]) => Math.max(0, base + near))

test('a bitmap matches a set of integers, in any order of insertion', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom('add', 'delete', 'range'), someIndex, fc.nat({ max: 60 }))),
      someIndex,
      (operations, from) => {
        const bitmap = new PagedBitmap()
        const model = new Set<number>()
        for (const [operation, index, length] of operations) {
          if (operation === 'delete') {
            bitmap.delete(index)
            model.delete(index)
          } else if (operation === 'add') {
            expect(bitmap.add(index)).toBe(!model.has(index))
            model.add(index)
          } else {
            bitmap.addRange(index, index + length)
            for (let at = index; at < index + length; at++) model.add(at)
          }
        }
        const inOrder = [...model].sort((a, b) => a - b)
        for (const index of inOrder) expect(bitmap.has(index)).toBe(true)
        const end = 2 ** 40 + 200
        const present = inOrder.find(index => index >= from)
        expect(bitmap.find(true, from, end)).toBe(present ?? end)
        let absent = from
        while (model.has(absent)) absent++
        expect(bitmap.find(false, from, end)).toBe(absent)
        const limit = from + 100
        expect(bitmap.count(from, limit)).toBe(inOrder.filter(index => index >= from && index < limit).length)
        bitmap.close()
      },
    ),
    { numRuns: 60 },
  )
})

test('pages beyond the memory bound are spilled and read back unchanged', () => {
  const bitmap = new PagedBitmap()
  const pages = 1500
  for (let page = 0; page < pages; page++) bitmap.add(page * PAGE + page)
  for (let page = 0; page < pages; page += 2) bitmap.delete(page * PAGE + page)
  for (let page = 0; page < pages; page++) expect(bitmap.has(page * PAGE + page)).toBe(page % 2 === 1)
  let count = 0
  const end = pages * PAGE
  for (let at = bitmap.find(true, 0, end); at < end; at = bitmap.find(true, at + 1, end)) count++
  expect(count).toBe(pages / 2)
  bitmap.close()
})
