/** Pages that name files name files that exist, and their links lead somewhere. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '..')
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter(name => name.endsWith('.md'))
    .map(name => `docs/${name}`),
]

/** Paths of the repository in backquotes: `core/pack/mark.ts`, `store/sqlite/`. */
const PATHS = /`((?:core|docs|mount|scripts|store|test)\/[\w./-]*)`/g
const LINKS = /\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g

const matches = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map(([, found]) => found ?? '')

test.each(PAGES)('%s names files that exist', page => {
  const text = readFileSync(join(ROOT, page), 'utf8')
  const named = [
    ...matches(text, PATHS).map(path => join(ROOT, path)),
    ...matches(text, LINKS).map(link => join(ROOT, dirname(page), link)),
  ]
  expect(named.filter(path => !existsSync(path))).toEqual([])
})

test('each rule of docs/format.md has a number of its own, and a rule that a page refers to exists', () => {
  const format = readFileSync(join(ROOT, 'docs/format.md'), 'utf8')
  const rules = matches(format, /^- \*\*(R\d+[a-z]?)\*\*/gm)
  expect(rules.filter((rule, index) => rules.indexOf(rule) !== index)).toEqual([])
  const referred = PAGES.flatMap(page => matches(readFileSync(join(ROOT, page), 'utf8'), /\b(R\d+[a-z]?)\b/g))
  expect([...new Set(referred)].filter(rule => !rules.includes(rule))).toEqual([])
})
