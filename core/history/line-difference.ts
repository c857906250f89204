/** The difference of two lists of lines: the lines to delete and to insert, in hunks with context as `diff -u` has them. */
import { type ArrayChange, diffArrays } from 'diff'

/** Maximum number of deleted and inserted lines for which a shortest list of them is found; beyond it, all lines in the middle differ. */
const EDITS_MAX = 2000
/** Bounds the time for long lists, whose number of edits is bounded more tightly, down to the minimum. */
const COMPARISONS_MAX = 500_000_000
const EDITS_MIN = 100
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
  const numberOf = numbering()
  const old = a.slice(lo, aEnd).map(numberOf)
  const now = b.slice(lo, bEnd).map(numberOf)
  const changes = diffArrays(old, now, { maxEditLength: editsMax(Math.min(old.length, now.length)) })
  return changes === undefined
    ? [{ a: lo, aCount: aEnd - lo, b: lo, bCount: bEnd - lo }]
    : editsOf(changes, lo)
}

/** Equal lines get equal numbers, so that comparing two takes the same time however long they are. */
function numbering(): (line: string) => number {
  const numbers = new Map<string, number>()
  return line => {
    const number = numbers.get(line) ?? numbers.size
    numbers.set(line, number)
    return number
  }
}

/** Each number of edits up to this one compares, on one diagonal more, at most all lines of the shorter list once. */
const editsMax = (lines: number): number =>
  Math.max(EDITS_MIN, Math.min(EDITS_MAX, Math.floor(COMPARISONS_MAX / (2 * lines + 1))))

/** @param start the number of lines before the first change, in both lists. */
function editsOf(changes: readonly ArrayChange<number>[], start: number): readonly Edit[] {
  const found: Edit[] = []
  let [a, b] = [start, start]
  let edit: Edit | undefined
  for (const { added, removed, count } of changes) {
    if (!added && !removed) {
      if (edit !== undefined) found.push(edit)
      edit = undefined
      ;[a, b] = [a + count, b + count]
      continue
    }
    edit ??= { a, aCount: 0, b, bCount: 0 }
    if (added) {
      edit = { ...edit, bCount: edit.bCount + count }
      b += count
    } else {
      edit = { ...edit, aCount: edit.aCount + count }
      a += count
    }
  }
  if (edit !== undefined) found.push(edit)
  return found
}
