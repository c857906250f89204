/** Hunks turn the first list of lines into the second, with as few edits as possible. */
import { expect, test } from 'vitest'
import { hunks } from '../../../core/history/line-difference.ts'
import { globMatcher, isGlob } from '../../../core/history/glob.ts'
import { Random } from '../../stress/random.ts'

/** Applies hunks to lines, checking the context. */
function applied(a: readonly string[], patch: Iterable<string>): string[] {
  const result: string[] = []
  let at = 0
  for (const line of patch) {
    const header = /^@@ -(\d+)(?:,(\d+))? \+/.exec(line)
    if (header !== null) {
      const from = Number(header[1]) - (header[2] === '0' ? 0 : 1)
      while (at < from) result.push(a[at++]!)
    } else if (line.startsWith('+')) result.push(line.slice(1))
    else {
      expect(line.slice(1)).toBe(a[at])
      if (line.startsWith(' ')) result.push(a[at]!)
      at++
    }
  }
  return [...result, ...a.slice(at)]
}

/** The length of a longest common subsequence. */
function common(a: readonly string[], b: readonly string[]): number {
  let row = Array.from({ length: b.length + 1 }, () => 0)
  for (const line of a) {
    const next = [0]
    for (const [i, other] of b.entries())
      next.push(line === other ? row[i]! + 1 : Math.max(next[i]!, row[i + 1]!))
    row = next
  }
  return row.at(-1)!
}

test('random lists', () => {
  const seed = Random.seed()
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  for (let round = 0; round < 500; round++) {
    const letters = 1 + random.below(6)
    const list = (): string[] => Array.from({ length: random.below(40) }, () => String(random.below(letters)))
    const [a, b] = [list(), list()]
    const patch = [...hunks(a, b)]
    expect(applied(a, patch)).toEqual(b)
    const edits = patch.filter(line => line.startsWith('+') || line.startsWith('-')).length
    expect(edits).toBe(a.length + b.length - 2 * common(a, b))
  }
})

test('lists with too many differences differ as a whole', () => {
  const a = Array.from({ length: 3000 }, (_, i) => `a${i}`)
  const b = Array.from({ length: 3000 }, (_, i) => `b${i}`)
  expect(applied(['x', ...a, 'y'], hunks(['x', ...a, 'y'], ['x', ...b, 'y']))).toEqual(['x', ...b, 'y'])
})

test.each([
  ['*.jpg', ['a.jpg', 'd/e/a.jpg'], ['a.jpeg', 'a.jpg.txt']],
  ['/*.jpg', ['a.jpg'], ['d/a.jpg']],
  ['src/**', ['src/a', 'src/a/b'], ['src2/a']],
  ['**/b', ['b', 'a/b', 'a/c/b'], ['ab']],
  ['a/**/b', ['a/b', 'a/x/y/b'], ['a/xb']],
  ['{one,two}.[ch]', ['one.c', 'two.h'], ['three.c', 'one.o']],
  ['[!a]x', ['bx'], ['ax', '/x']],
  ['\\*', ['*'], ['a']],
  ['d?r', ['dir', 'dir/below'], ['d/r', 'dirx']],
  ['a+(b)', ['a+(b)'], ['aab']],
])('%s', (pattern, matching, others) => {
  const matches = globMatcher(pattern)
  for (const path of matching) expect(matches(path), path).toBe(true)
  for (const path of others) expect(matches(path), path).toBe(false)
})

test('a path without special characters is not a pattern', () => {
  expect(isGlob('a/b.txt')).toBe(false)
  expect(isGlob('a/*.txt')).toBe(true)
})
