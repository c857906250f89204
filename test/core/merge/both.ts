/** A database and a branch of it, open. */
import { onTestFinished } from 'vitest'
import { makeBranch } from '../../../core/database/branches.ts'
import type { Database } from '../../../core/database/database.ts'
import { mergeBranch, type MergeOptions } from '../../../core/database/merge.ts'
import type { MergeConflict, MergeStep } from '../../../core/merge/merge-step.ts'
import { open } from '../../../index.ts'
import { branchPath } from '../../../store/branches.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

async function opened(path: string): Promise<Database> {
  const db = await open(path, { create: true })
  onTestFinished(() => db.close().catch(() => undefined))
  return db
}

/** A database with some files, and a branch of it. */
export async function both(
  fill: (db: Database) => Promise<void>,
): Promise<{ main: Database; branch: Database }> {
  const main = await opened(temporaryDatabase())
  await fill(main)
  await main.sync()
  await makeBranch(main, 'b')
  return { main, branch: await opened(branchPath(main.name, 'b')) }
}

/** Merges the branch; what is planned, in memory. */
export async function merge(
  main: Database,
  name: string,
  options?: MergeOptions,
): Promise<{ readonly steps: readonly MergeStep[]; readonly conflicts: readonly MergeConflict[] }> {
  const plan = await mergeBranch(main, name, options)
  try {
    return { steps: [...plan.steps], conflicts: [...plan.conflicts] }
  } finally {
    plan.close()
  }
}
