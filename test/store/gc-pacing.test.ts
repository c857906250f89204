import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

/** Fills the heap, drops most of it, and prints the anonymous memory in MiB: with the heap filled, collected, and shrunk. */
const PROGRAM = `
  import { readFileSync } from 'node:fs'
  import { collectAll, paceCollections, shrinkHeap } from '${join(import.meta.dirname, '../../store/gc-pacing.ts')}'
  const anonymous = () => Number(/RssAnon:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024
  paceCollections()
  const memory = []
  function fill() {
    const filled = Array.from({ length: 600_000 }, (_, index) => ({ index, more: [index] }))
    memory.push(anonymous())
    return filled.filter(({ index }) => index % 100 === 0)
  }
  const kept = fill()
  for (const collect of [collectAll, shrinkHeap]) {
    await new Promise(resolve => setTimeout(resolve, 10))
    collect()
    memory.push(anonymous())
  }
  console.log(JSON.stringify({ memory, kept: kept.length }))
`

test('the free pages of a heap that was collected go back to the system when it is shrunk', async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--max-semi-space-size=2',
    '--input-type=module',
    '-e',
    PROGRAM,
  ])
  const { memory, kept } = JSON.parse(stdout) as { readonly memory: readonly number[]; readonly kept: number }
  const [filled = 0, collected = 0, shrunk = 0] = memory
  expect(kept).toBe(6000)
  expect(collected).toBeGreaterThan(filled / 2)
  expect(shrunk).toBeLessThan(collected - 30)
})
