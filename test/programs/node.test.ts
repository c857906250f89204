/** Node's own fs, from several processes at once. */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { Random } from '../stress/random.ts'
import { withPlace } from './place.ts'
import { sh } from './program.ts'

const WORKER = fileURLToPath(new URL('node-worker.ts', import.meta.url))
const PROCESSES = 4
const OPERATIONS = 150

it('concurrent processes read back what they wrote, also after a remount', async () => {
  const seed = Random.seed()
  console.log(`node stress: seed ${seed}`)
  await withPlace(async ({ dir, remount }) => {
    mkdirSync(join(dir, 'shared'))
    const outputs = await Promise.all(
      Array.from({ length: PROCESSES }, (_, index) =>
        sh(`${process.execPath} ${WORKER} ${dir} ${index} ${OPERATIONS} ${seed + index}`),
      ),
    )
    await remount()
    for (const [index, output] of outputs.entries()) {
      const expected = Object.entries(JSON.parse(output) as Record<string, string>)
      expect(expected.length).toBeGreaterThan(0)
      for (const [name, sum] of expected) {
        const data = readFileSync(join(dir, `process-${index}`, name))
        expect(createHash('sha256').update(data).digest('hex'), name).toBe(sum)
      }
    }
  })
})
