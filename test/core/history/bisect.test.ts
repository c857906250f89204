/** The search for the first bad state. */
import { expect, test } from 'vitest'
import { firstBad, type Verdict } from '../../../core/history/bisect.ts'

test('finds the first bad state in about log2 steps', async () => {
  for (const count of [2, 3, 10, 1000])
    for (const broken of new Set([1, Math.floor(count / 2), count - 1].filter(index => index > 0))) {
      let judged = 0
      const found = await firstBad(count, index => {
        judged++
        return Promise.resolve(index < broken ? 'good' : 'bad')
      })
      expect(found).toEqual({ first: broken, last: broken })
      expect(judged).toBeLessThanOrEqual(Math.ceil(Math.log2(count)))
    }
})

test('passes by states that cannot be judged, and names those next to the first bad one', async () => {
  const untestable = new Set([4, 5, 6, 11, 12])
  const judge =
    (broken: number) =>
    (index: number): Promise<Verdict> =>
      Promise.resolve(untestable.has(index) ? 'untestable' : index < broken ? 'good' : 'bad')
  expect(await firstBad(20, judge(9))).toEqual({ first: 9, last: 9 })
  expect(await firstBad(20, judge(13))).toEqual({ first: 11, last: 13 })
  expect(await firstBad(20, judge(5))).toEqual({ first: 4, last: 7 })
})
