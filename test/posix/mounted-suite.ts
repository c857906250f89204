/** The suite on a fresh mount through one of the drivers. */
import { chmodSync } from 'node:fs'
import { withMount } from '../tools/mounted.ts'
import type { Exclusions } from './exclusions.ts'
import { describeSuite, runSuite } from './suite.ts'

/** Other users, device nodes and setuid programs: what only root may mount with, and only root's tests need. */
const ROOT_OPTIONS = process.getuid?.() === 0 ? ['allow_other', 'suid', 'dev'] : []

/** Describes the suite on a mount through a driver. */
export function describeMounted(driver: 'kernel' | 'fuse-native', exclusions: Exclusions): void {
  describeSuite(`posix through ${driver}`, exclusions, () =>
    withMount({ driver, options: ROOT_OPTIONS }, async ({ dir, scratch }) => {
      chmodSync(scratch, 0o755)
      return runSuite(dir, { testTimeoutMs: 30_000 })
    }),
  )
}
