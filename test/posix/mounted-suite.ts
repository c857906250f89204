/** The suite on a fresh mount through one of the drivers. */
import { chmodSync } from 'node:fs'
import { withMount } from '../tools/mounted.ts'
import type { Exclusions } from './exclusions.ts'
import { describeSuite, runSuite } from './suite.ts'

/** Describes the suite on a mount that other users reach and that has device nodes and setuid programs. */
export function describeMounted(driver: 'kernel' | 'fuse-native', exclusions: Exclusions): void {
  describeSuite(`posix through ${driver}`, exclusions, () =>
    withMount({ driver, options: ['allow_other', 'suid', 'dev'] }, async ({ dir, scratch }) => {
      chmodSync(scratch, 0o755)
      return runSuite(dir, { testTimeoutMs: 30_000 })
    }),
  )
}
