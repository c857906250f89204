/** Hunks turn the first list of lines into the second, with as few edits as possible, and are those of git. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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

test('the more lines there are, the fewer edits are looked for', () => {
  const equal = Array.from({ length: 2_000_000 }, () => '')
  const everyThousandth = equal.map((line, i) => (i % 1000 === 0 ? 'x' : line))
  const patch = [...hunks(equal, everyThousandth)]
  expect(patch.filter(line => line.startsWith('@@'))).toEqual(['@@ -1,1999004 +1,1999004 @@'])
  const few = equal.map((line, i) => (i % 100_000 === 5 ? 'x' : line))
  expect([...hunks(equal, few)].filter(line => line.startsWith('@@'))).toHaveLength(20)
})

/** The hunks of `git diff --no-index` for each pair, without the function names behind their ranges. */
function hunksOfGit(pairs: readonly (readonly [readonly string[], readonly string[]])[]): string[][] {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-git-diff-'))
  try {
    for (const side of ['a', 'b']) mkdirSync(join(directory, side))
    for (const [i, [a, b]] of pairs.entries()) {
      writeFileSync(join(directory, 'a', String(i)), a.join(''), 'latin1')
      writeFileSync(join(directory, 'b', String(i)), b.join(''), 'latin1')
    }
    const found = pairs.map((): string[] => [])
    let current: string[] | undefined
    for (const line of gitDiff(directory).split('\n').slice(0, -1)) {
      const name = /^diff --git a\/a\/(\d+)/.exec(line)?.[1]
      if (name !== undefined) current = undefined
      const file = /^\+\+\+ b\/b\/(\d+)$/.exec(line)?.[1]
      if (file !== undefined) current = found[Number(file)]!
      else current?.push(/^@@ .* @@/.exec(line)?.[0] ?? line)
    }
    return found
  } finally {
    rmSync(directory, { recursive: true })
  }
}

function gitDiff(directory: string): string {
  try {
    return execFileSync('git', ['diff', '--no-index', '--minimal', '--no-color', '--no-renames', 'a', 'b'], {
      cwd: directory,
      encoding: 'latin1',
      maxBuffer: 64 << 20,
    })
  } catch (error) {
    // Exit code 1: there are differences.
    return (error as { stdout: string }).stdout
  }
}

/** The lines of hunks as a patch has them, without their newlines. */
const patchLines = (lines: Iterable<string>): string[] =>
  [...lines].flatMap(line => {
    if (line.startsWith('@@')) return [line]
    return line.endsWith('\n') ? [line.slice(0, -1)] : [line, '\\ No newline at end of file']
  })

test('the hunks of edits that are found in one way only are those of git diff', () => {
  const seed = Random.seed()
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  const pairs = Array.from({ length: 200 }, () => {
    // Every line is unique, so that there is one shortest list of edits.
    let next = 0
    const line = (): string => `${next++}${random.below(8) === 0 ? '\r' : ''}\n`
    const a = Array.from({ length: random.below(120) }, line)
    const b = a.flatMap(old => {
      const chance = random.below(20)
      if (chance === 0) return []
      if (chance === 1) return [line()]
      return chance === 2 ? [old, ...Array.from({ length: random.below(4) }, line)] : [old]
    })
    if (random.below(4) === 0 && a.length > 0) a[a.length - 1] = a.at(-1)!.slice(0, -1)
    if (random.below(4) === 0 && b.length > 0) b[b.length - 1] = b.at(-1)!.slice(0, -1)
    return [a, b] as const
  })
  const expected = hunksOfGit(pairs)
  expect(expected.filter(lines => lines.length > 0).length).toBeGreaterThan(100)
  for (const [i, [a, b]] of pairs.entries()) expect(patchLines(hunks(a, b))).toEqual(expected[i])
})

test('no more lines are deleted and inserted than in git diff --minimal', () => {
  const seed = Random.seed()
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  const edits = (lines: readonly string[]): number => lines.filter(line => /^[+-]/.test(line)).length
  const pairs = Array.from({ length: 200 }, () => {
    const letters = 1 + random.below(12)
    const list = (): string[] => Array.from({ length: random.below(100) }, () => `${random.below(letters)}\n`)
    return [list(), list()] as const
  })
  const expected = hunksOfGit(pairs)
  for (const [i, [a, b]] of pairs.entries()) expect(edits([...hunks(a, b)])).toBe(edits(expected[i]!))
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
