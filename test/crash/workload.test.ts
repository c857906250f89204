/** The model of the crash tests matches a real filesystem: compared with the host's after every operation. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Random } from '../stress/random.ts'
import { TreeModel } from './tree-model.ts'
import { hashTree, nextOperation, perform } from './workload.ts'

const SEED = Number(process.env['CRASH_SEED'] ?? Random.seed())

test(`the model follows 600 operations on the host's filesystem (CRASH_SEED=${SEED})`, async () => {
  const root = await mkdtemp(join(tmpdir(), 'zblkfs-model-'))
  try {
    const model = new TreeModel()
    const random = new Random(SEED)
    for (let count = 0; count < 600; count++) {
      const operation = nextOperation(model, random)
      model.apply(operation)
      await perform(root, operation)
      expect(await hashTree(root), `operation ${count}: ${JSON.stringify(operation)}`).toBe(model.hash)
    }
    expect(model.paths('file').length).toBeGreaterThan(10)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
})
