/**
 * The difference of two lists of lines: a shortest list of lines to delete and to insert, by Myers' algorithm ("An O(ND) Difference
 * Algorithm and Its Variations", 1986), in hunks with context as `diff -u` has them.
 */

/** Maximum number of deleted and inserted lines for which the shortest list is found; beyond it, all lines in the middle differ. */
const EDITS_MAX = 2000
const CONTEXT = 3

/** Lines `[a, a + aCount)` of the first list are replaced by `[b, b + bCount)` of the second. */
interface Edit {
  readonly a: number
  readonly aCount: number
  readonly b: number
  readonly bCount: number
}

/** The hunks of a unified difference, line by line: `@@ -1,3 +1,4 @@`, then lines that begin with ' ', '-' or '+'. */
export function* hunks(a: readonly string[], b: readonly string[]): Generator<string> {
  let group: Edit[] = []
  for (const edit of edits(a, b)) {
    const last = group.at(-1)
    if (last !== undefined && edit.a - (last.a + last.aCount) > 2 * CONTEXT) {
      yield* hunk(group, a, b)
      group = []
    }
    group.push(edit)
  }
  if (group.length > 0) yield* hunk(group, a, b)
}

function* hunk(group: readonly Edit[], a: readonly string[], b: readonly string[]): Generator<string> {
  const [first, last] = [group[0], group.at(-1)]
  if (first === undefined || last === undefined) return
  const before = Math.min(CONTEXT, first.a)
  const behind = Math.min(CONTEXT, a.length - (last.a + last.aCount))
  const [aLo, aHi] = [first.a - before, last.a + last.aCount + behind]
  const [bLo, bHi] = [first.b - before, last.b + last.bCount + behind]
  yield `@@ -${rangeOf(aLo, aHi - aLo)} +${rangeOf(bLo, bHi - bLo)} @@`
  let at = aLo
  for (const edit of group) {
    for (; at < edit.a; at++) yield ` ${a[at]}`
    for (; at < edit.a + edit.aCount; at++) yield `-${a[at]}`
    for (let i = 0; i < edit.bCount; i++) yield `+${b[edit.b + i]}`
  }
  for (; at < aHi; at++) yield ` ${a[at]}`
}

/** An empty range is named by the line before it. */
const rangeOf = (from: number, count: number): string =>
  count === 1 ? `${from + 1}` : `${count === 0 ? from : from + 1},${count}`

/** Ascending and apart. */
function edits(a: readonly string[], b: readonly string[]): readonly Edit[] {
  let lo = 0
  while (lo < a.length && lo < b.length && a[lo] === b[lo]) lo++
  let [aEnd, bEnd] = [a.length, b.length]
  while (aEnd > lo && bEnd > lo && a[aEnd - 1] === b[bEnd - 1]) [aEnd, bEnd] = [aEnd - 1, bEnd - 1]
  if (lo === aEnd && lo === bEnd) return []
  const middle = shortest(a.slice(lo, aEnd), b.slice(lo, bEnd))
  if (middle === undefined) return [{ a: lo, aCount: aEnd - lo, b: lo, bCount: bEnd - lo }]
  return middle.map(edit => ({ ...edit, a: edit.a + lo, b: edit.b + lo }))
}

/** Undefined if there are more than {@link EDITS_MAX} edits. */
function shortest(a: readonly string[], b: readonly string[]): readonly Edit[] | undefined {
  const max = Math.min(a.length + b.length, EDITS_MAX)
  // The furthest position in `a` on each diagonal a - b, from -max - 1 to max + 1; one array per number of edits.
  const furthest = new Int32Array(2 * max + 3)
  const trace: Int32Array[] = []
  const zero = max + 1
  for (let count = 0; count <= max; count++) {
    trace.push(furthest.slice(zero - count - 1, zero + count + 2))
    for (let diagonal = -count; diagonal <= count; diagonal += 2) {
      let at = start(furthest, zero, diagonal, count)
      while (at < a.length && at - diagonal < b.length && a[at] === b[at - diagonal]) at++
      furthest[zero + diagonal] = at
      if (at >= a.length && at - diagonal >= b.length) return walkBack(trace, a.length, b.length)
    }
  }
  return undefined
}

/** Where a path of `count` edits enters a diagonal: by an insertion from the diagonal above, or a deletion. */
function start(furthest: Int32Array, zero: number, diagonal: number, count: number): number {
  const [below, above] = [furthest[zero + diagonal - 1] ?? 0, furthest[zero + diagonal + 1] ?? 0]
  return diagonal === -count || (diagonal !== count && below < above) ? above : below + 1
}

function walkBack(trace: readonly Int32Array[], aEnd: number, bEnd: number): readonly Edit[] {
  const found: Edit[] = []
  let [x, y] = [aEnd, bEnd]
  for (let count = trace.length - 1; count > 0; count--) {
    const furthest = trace[count] ?? new Int32Array()
    const zero = count + 1
    const diagonal = x - y
    const [below, above] = [furthest[zero + diagonal - 1] ?? 0, furthest[zero + diagonal + 1] ?? 0]
    const isInsertion = diagonal === -count || (diagonal !== count && below < above)
    x = isInsertion ? above : below
    y = x - (isInsertion ? diagonal + 1 : diagonal - 1)
    const edit = isInsertion ? { a: x, aCount: 0, b: y, bCount: 1 } : { a: x, aCount: 1, b: y, bCount: 0 }
    const next = found.at(-1)
    const touches = next !== undefined && edit.a + edit.aCount === next.a && edit.b + edit.bCount === next.b
    if (touches)
      found[found.length - 1] = {
        a: edit.a,
        aCount: edit.aCount + next.aCount,
        b: edit.b,
        bCount: edit.bCount + next.bCount,
      }
    else found.push(edit)
  }
  return found.toReversed()
}
