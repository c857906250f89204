/** The suite's runner lives on when a test hangs or takes its process along, and says which. */
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { runSuite } from './suite.ts'

it('reports a test that hangs and one that crashes, and continues', async () => {
  const program = fileURLToPath(new URL('troubled-run.ts', import.meta.url))
  const outcomes = await runSuite('/nowhere', { program, testTimeoutMs: 2000 })
  expect(outcomes).toEqual([
    { name: 'first', outcome: 'passed', ms: 1 },
    { name: 'hangs', outcome: 'failed', ms: 2000, message: 'hung: it did not end within 2000 ms' },
    expect.objectContaining({
      name: 'dies',
      outcome: 'failed',
      message: expect.stringContaining('SIGBUS') as string,
    }),
    { name: 'last', outcome: 'passed', ms: 1 },
  ])
})
