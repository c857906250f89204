/** Progress bars: what they say, and what an interrupted one leaves on a terminal. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { progressText, type Step } from '../../scripts/progress-bar.ts'
import { runProgram } from '../tools/run-zblkfs.ts'

const MIB = 1 << 20
const step = (changes: Partial<Step>): Step => ({
  what: 'copying',
  done: 0,
  total: 100 * MIB,
  doneBefore: 0,
  elapsedMs: 10_000,
  unit: 'bytes',
  ...changes,
})
const BAR = join(import.meta.dirname, '../../scripts/progress-bar.ts')

describe('a progress bar', () => {
  test.each<[string, Partial<Step>, string]>([
    [
      'of bytes',
      { done: 33 * MIB },
      'copying [=========---------------------] 33 % of 100 MiB, 3.3 MiB/s, 21 s left',
    ],
    [
      'of pieces',
      { what: 'files', done: 1500, total: 1_000_000, unit: 'count' },
      'files [------------------------------] 0 % of 1,000,000, 150/s, 1 h 51 min left',
    ],
    [
      'that has just begun',
      { done: MIB, elapsedMs: 10 },
      'copying [------------------------------] 1 % of 100 MiB',
    ],
    [
      'that is resumed',
      { done: 90 * MIB, doneBefore: 80 * MIB },
      'copying [===========================---] 90 % of 100 MiB, 1.0 MiB/s, 10 s left',
    ],
    ['at its end', { done: 100 * MIB }, `copying [${'='.repeat(30)}] 100 % of 100 MiB, 10.0 MiB/s, 0 s left`],
    ['without a total', { done: 50 * MIB, total: 0 }, 'copying 50.0 MiB, 5.0 MiB/s'],
    ['whose total proves too low', { done: 101 * MIB }, 'copying 101 MiB, 10.1 MiB/s'],
    ['of a single step', { what: 'sums', total: 1, unit: 'count' }, 'sums ...'],
  ])('%s', (_what, changes, text) => {
    expect(progressText(step(changes))).toBe(text)
  })

  test('that is interrupted shows the cursor again, and the signal ends the command', async () => {
    const program = `
      const { ProgressBar } = await import(${JSON.stringify(BAR)})
      new ProgressBar().update('files', 1, 10)
      setTimeout(() => process.kill(process.pid, 'SIGINT'), 50)
      setTimeout(() => console.log('goes on'), 5000)`
    const command = `'${process.execPath}' --input-type=module -e '${program.replaceAll("'", `'\\''`)}'; echo "status $?"`
    const { stdout } = await runProgram('script', ['-qec', command, '/dev/null'])
    expect(stdout).toContain('files [===')
    expect(stdout.lastIndexOf('\u001b[?25h')).toBeGreaterThan(stdout.lastIndexOf('\u001b[?25l'))
    expect(stdout).toMatch(/status 130/)
    expect(stdout).not.toContain('goes on')
  })
})
