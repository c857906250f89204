/** Where a program's test works: a mount, or, to prove the test, a directory of the host (ZBLKFS_TEST_HOST=1). */
import { chmodSync, mkdtempSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withMount, type TestMount } from '../tools/mounted.ts'

/** The place in which a test runs a program. */
export interface Place extends Pick<TestMount, 'dir' | 'scratch' | 'kill'> {
  /** Unmounts and mounts again. */
  readonly remount: () => Promise<void>
}

/** Whether the tests run on the host's filesystem. */
export const onHost = process.env['ZBLKFS_TEST_HOST'] !== undefined

/** Gives `body` a place that other users reach too. */
export async function withPlace(body: (place: Place) => Promise<void>): Promise<void> {
  if (!onHost)
    return withMount({ options: process.getuid?.() === 0 ? ['allow_other'] : [] }, async mount => {
      const { dir, scratch } = mount
      chmodSync(scratch, 0o755)
      await body({ dir, scratch, remount: () => mount.remount(), kill: () => mount.kill() })
    })
  const scratch = mkdtempSync(join(tmpdir(), 'zblkfs-programs-'))
  chmodSync(scratch, 0o755)
  const dir = join(scratch, 'mnt')
  await mkdir(dir)
  const nothing = (): Promise<void> => Promise.resolve()
  try {
    await body({ dir, scratch, remount: nothing, kill: nothing })
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
