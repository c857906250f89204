import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { runProgram } from './tools/run-zblkfs.ts'
import { skipReason } from './tools/skip-reporter.ts'

test('the reason of a skip is the condition of the test or of its suite', () => {
  const source = [
    "describe.skipIf(!has('git') || isOld())('git', () => {",
    '  it("commits", f)',
    '})',
    'test.runIf(process.getuid?.() === 0)(',
    "  'as root',",
  ].join('\n')
  expect(skipReason(source, ['commits', 'git'])).toBe("skipped if !has('git') || isOld()")
  expect(skipReason(source, ['as root'])).toBe('run only if process.getuid?.() === 0')
  expect(skipReason('', ['x'])).toBe('no condition is given')
})

test('a run ends with the names of skipped tests and the reasons', async () => {
  const directory = mkdtempSync(join(import.meta.dirname, 'skips-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  writeFileSync(
    join(directory, 'some.test.ts'),
    `import { describe, test } from 'vitest'
     describe.skipIf(1 + 1 === 2)('a suite', () => { test('one', () => undefined) })
     test('two', context => context.skip('no such device'))
     test('three', () => undefined)`,
  )
  const reporter = '--reporter=./test/tools/skip-reporter.ts'
  const { stdout } = await runProgram('npx', ['vitest', 'run', reporter, join(directory, 'some.test.ts')])
  expect(stdout).toContain('2 skipped:\n')
  expect(stdout).toContain('some.test.ts > a suite > one: skipped if 1 + 1 === 2\n')
  expect(stdout).toContain('some.test.ts > two: no such device\n')
  expect(stdout).not.toContain('three')
})
