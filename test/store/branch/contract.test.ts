/** A branch passes the contract of a store, but for the suites that begin with an empty database: branch-store.test.ts has its own. */
import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { branchPath } from '../../../store/branches.ts'
import { ROOT_OID, TID_NONE } from '../../../store/ids.ts'
import { createBranch, openDatabase } from '../../../store/open-store.ts'
import { temporaryDirectory } from '../sqlite/temporary-directory.ts'
import { compressingContract, datingContract } from '../contract/condition.ts'
import { conflictContract } from '../contract/conflicts.ts'
import { orderContract } from '../contract/order.ts'
import { sliceContract } from '../contract/slices.ts'
import type { TestDatabase } from '../contract/opened-database.ts'

async function makeBranch(): Promise<TestDatabase> {
  const directory = await temporaryDirectory()
  const path = `${directory}/test.db`
  const parent = await openDatabase(path, { create: true })
  const record = { head: Uint8Array.of(1) }
  const base = await parent.commit({ changes: [{ oid: ROOT_OID, base: TID_NONE, record }] })
  await parent.close()
  await createBranch(path, 'b', base)
  const branch = branchPath(path, 'b')
  return {
    open: async () => await openDatabase(branch),
    openReader: async () => await openDatabase(branch, { readOnly: true }),
    remove: async () => await rm(dirname(path), { recursive: true, force: true }),
  }
}

for (const contract of [conflictContract, sliceContract, orderContract, datingContract, compressingContract])
  contract('a branch', makeBranch)
