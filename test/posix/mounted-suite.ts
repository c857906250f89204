/** The suite on a fresh mount through one of the drivers. */
import { chmodSync } from 'node:fs'
import { withMount } from '../tools/mounted.ts'
import type { Exclusions } from './exclusions.ts'
import { describeSuite, runSuite } from './suite.ts'

/** Other users, device nodes and setuid programs: what only root may mount with, and only root's tests need. */
const ROOT_OPTIONS = process.getuid?.() === 0 ? ['allow_other', 'suid', 'dev'] : []

/** Where a suite's database is; absent: a new file. */
export interface SuiteDatabase {
  readonly db: string
  readonly options: readonly string[]
  readonly remove: () => Promise<void>
}

export interface SuitePlace {
  /** For the names of tests. */
  readonly name: string
  readonly make: () => Promise<SuiteDatabase>
}

/** Describes the suite on a mount through a driver. */
export function describeMounted(
  driver: 'kernel' | 'fuse-native',
  exclusions: Exclusions,
  place?: SuitePlace,
): void {
  const where = place === undefined ? '' : ` ${place.name}`
  describeSuite(`posix through ${driver}${where}`, exclusions, async () => {
    const made = await place?.make()
    const options = [...ROOT_OPTIONS, ...(made?.options ?? [])]
    try {
      return await withMount({ driver, options, ...(made && { db: made.db }) }, async ({ dir, scratch }) => {
        chmodSync(scratch, 0o755)
        return await runSuite(dir, { testTimeoutMs: 120_000 })
      })
    } finally {
      await made?.remove()
    }
  })
}
