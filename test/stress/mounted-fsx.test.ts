/** fsx on a mount, with remounts in the middle and reads of what the file was. */
import { relative } from 'node:path'
import { describe, expect, it } from 'vitest'
import { withMount, type TestMount } from '../tools/mounted.ts'
import { hasPostgres } from '../tools/postgres-server.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { makeWrittenBeside } from '../tools/written-beside.ts'
import { runFsx } from './run-fsx.ts'

const OPERATIONS = Number(process.env['ZBLKFS_FSX_OPERATIONS'] ?? 100_000)
/** Each change may wait for the lease. */
const SHARED_OPERATIONS = Math.ceil(OPERATIONS / 50)
const SEED = process.env['ZBLKFS_FSX_SEED']
const TIMEOUT_MS = 600_000

/** Stores the present, and returns a path by which it stays readable. */
async function moment({ dir }: TestMount, path: string): Promise<string> {
  const { exitCode, stdout, stderr } = await runZblkfs('sync', dir)
  const tid = /[0-9a-f]{16}/.exec(stdout)?.[0]
  if (exitCode !== 0 || tid === undefined) throw new Error(`zblkfs sync: ${stdout}${stderr}`)
  return `${dir}/@${tid}/${relative(dir, path)}`
}

describe.each([
  { driver: 'kernel', operations: OPERATIONS },
  { driver: 'fuse-native', operations: Math.ceil(OPERATIONS / 5) },
] as const)('fsx through $driver', ({ driver, operations }) => {
  it(`finds nothing in ${operations} operations`, { timeout: TIMEOUT_MS }, async () => {
    await withMount({ driver }, async mount => await expectNothing(mount, operations))
  })
})

describe.skipIf(!hasPostgres)('fsx beside another mount that writes', () => {
  it(`finds nothing in ${SHARED_OPERATIONS} operations`, { timeout: TIMEOUT_MS }, async () => {
    const beside = await makeWrittenBeside()
    try {
      await withMount(
        { driver: 'kernel', db: beside.db },
        async mount => await expectNothing(mount, SHARED_OPERATIONS),
      )
    } finally {
      await beside.remove()
    }
  })
})

async function expectNothing(mount: TestMount, operations: number): Promise<void> {
  const run = await runFsx(
    mount.dir,
    { operations, timeoutMs: TIMEOUT_MS - 20_000, ...(SEED !== undefined && { seed: Number(SEED) }) },
    { remount: () => mount.remount(), moment: path => moment(mount, path) },
  )
  console.log(run.output)
  expect(run.code, run.output).toBe(0)
}
