/** Binary search for the first bad state, where some states cannot be judged. */

/** `untestable`: it cannot be told whether the state is good. */
export type Verdict = 'good' | 'bad' | 'untestable'

/** The first bad state is one of `[first, last]`; they differ if those before `last` are untestable. */
export interface FirstBad {
  readonly first: number
  readonly last: number
}

/**
 * Finds the first bad one of states `[0, count)`, of which the first is known to be good and the last to be bad.
 * Judges about log2(count) of them, more if some are untestable.
 */
export async function firstBad(count: number, judge: (index: number) => Promise<Verdict>): Promise<FirstBad> {
  let good = 0
  let bad = count - 1
  const untestable = new Set<number>()
  for (;;) {
    const index = nearestToMiddle(good, bad, untestable)
    if (index === undefined) return { first: good + 1, last: bad }
    const verdict = await judge(index)
    if (verdict === 'good') good = index
    else if (verdict === 'bad') bad = index
    else untestable.add(index)
  }
}

/** The testable state strictly between two that is nearest to their middle; undefined if there is none. */
function nearestToMiddle(good: number, bad: number, untestable: ReadonlySet<number>): number | undefined {
  const middle = good + Math.floor((bad - good) / 2)
  for (let distance = 0; distance < bad - good; distance++)
    for (const index of [middle - distance, middle + distance])
      if (index > good && index < bad && !untestable.has(index)) return index
  return undefined
}
