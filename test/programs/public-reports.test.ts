/** Faults that users of other filesystems reported, tried here and, with ZBLKFS_TEST_HOST=1, on the host's filesystem. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { withPlace } from './place.ts'
import { sh } from './program.ts'

const SCRIPT = join(import.meta.dirname, 'public-reports.py')

test('reported faults of other filesystems', async () => {
  const cases = execFileSync('python3', [SCRIPT, 'list'], { encoding: 'utf8' }).trim().split('\n')
  expect(cases.length).toBeGreaterThan(10)
  await withPlace(async ({ dir }) => {
    const failed: string[] = []
    for (const name of cases)
      await sh(`timeout 200 python3 ${SCRIPT} run ${name} ${dir}`).catch((error: unknown) => {
        failed.push(`${name}: ${String(error)}`)
      })
    expect(failed).toEqual([])
  })
})
