import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { tid } from '../../store/ids.ts'
import { keptMoments, KeptRevisions } from '../../store/kept-moments.ts'

const moment = fc.bigInt({ min: 0n, max: 20n }).map(tid)
/** Of a damaged row, perhaps. */
const revision = fc.bigInt({ min: -5n, max: 25n })

test('a revision is visible within continuous history, and at earlier kept moments that have its state', () => {
  fc.assert(
    fc.property(moment, fc.array(moment), fc.uniqueArray(revision), (from, moments, tids) => {
      const kept = keptMoments(from, moments)
      const newestFirst = tids.toSorted((a, b) => (a < b ? 1 : -1))
      const isState = (tid: bigint, at: bigint): boolean => newestFirst.find(other => other <= at) === tid
      const revisions = new KeptRevisions(kept)
      for (const tid of newestFirst)
        expect(revisions.sees(1, tid)).toBe(
          tid > from || [from, ...kept.earlier].some(at => isState(tid, at)),
        )
    }),
  )
})
