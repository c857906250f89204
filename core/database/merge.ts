/**
 * Merges of a branch into its database. The tag `merged:NAME:TID`, held, names the moment of the database that has everything of the branch up to
 * its transaction TID.
 */
import { branchPath, mergedPrefix } from '../../store/branches.ts'
import { StoreError } from '../../store/errors.ts'
import { formatTid, parseTid, type Tid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { Store } from '../../store/store.ts'
import { MomentView } from '../history/moment-view.ts'
import { applyMerge } from '../merge/apply-merge.ts'
import { planMerge, type MergeSides } from '../merge/merge-plan.ts'
import type { MergePlan } from '../merge/merge-step.ts'
import { releaseTag } from './branches.ts'
import type { Database } from './database.ts'

/** How often a merge is planned again because the database was changed meanwhile. */
const ATTEMPTS = 3

export interface MergeOptions {
  /** Changes nothing. */
  readonly isDryRun?: boolean
  /** The conflicts were resolved by hand: what the branch has up to now counts as merged. */
  readonly isResolved?: boolean
}

/**
 * Brings what a branch changed since the last merge into its database, as one transaction. Conflicts are left out. Resolves to the plan,
 * which the caller closes.
 * @throws StoreError with the code `no-branch`; `conflict` if other programs change the database all the time.
 */
export async function mergeBranch(
  db: Database,
  name: string,
  { isDryRun = false, isResolved = false }: MergeOptions = {},
): Promise<MergePlan> {
  const branch = await openDatabase(branchPath(db.name, name), { readOnly: true, key: db.key })
  try {
    const main = await openDatabase(db.name, { readOnly: true, key: db.key })
    try {
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        await db.sync()
        const sides = await sidesOf(db, name, main, branch)
        const plan = await planMerge(sides)
        try {
          if (isDryRun || (await applied(db, name, { plan, sides, isResolved }))) return plan
        } catch (error) {
          plan.close()
          throw error
        }
        plan.close()
      }
    } finally {
      await main.close()
    }
  } finally {
    await branch.close()
  }
  throw new StoreError(`${db.name} is changed all the time, so ${name} could not be merged`, {
    code: 'conflict',
  })
}

async function sidesOf(db: Database, name: string, main: Store, branch: Store): Promise<MergeSides> {
  const { branch: about } = branch.capabilities
  if (about === undefined) throw new StoreError(`${branch.name} is not a branch`, { code: 'no-branch' })
  const { base } = about
  const now = { main: await main.lastTid(), branch: await branch.lastTid() }
  let merged = { main: base, branch: base }
  for await (const tag of db.tags()) {
    const [branchTid, mainTid] = [mergedUpTo(tag.name, name), parseTid(tag.tid)]
    // A tag that is earlier than the base is that of another branch.
    if (branchTid !== undefined && mainTid !== undefined && mainTid >= base && branchTid > merged.branch)
      merged = { main: mainTid, branch: branchTid }
  }
  return { main, branch, base, merged, now }
}

const mergedUpTo = (tag: string, name: string): Tid | undefined =>
  tag.startsWith(mergedPrefix(name)) ? parseTid(tag.slice(mergedPrefix(name).length)) : undefined

interface Planned {
  readonly plan: MergePlan
  readonly sides: MergeSides
  readonly isResolved: boolean
}

/** Applies a plan and records the merge. Resolves to false as {@link apply} does. */
async function applied(db: Database, name: string, { plan, sides, isResolved }: Planned): Promise<boolean> {
  if (plan.steps.length > 0 && !(await apply(db, name, plan, sides))) return false
  if (plan.conflicts.length === 0 || isResolved) await record(db, name, sides)
  return true
}

/** Resolves to false if the database has changed since the plan was made; nothing is changed then. */
async function apply(db: Database, name: string, plan: MergePlan, sides: MergeSides): Promise<boolean> {
  const { main, branch, now } = sides
  const view = await MomentView.open(branch, now.branch)
  const changed = new StoreError(`${db.name} has changed`, { code: 'conflict' })
  try {
    await db.transaction(
      async files => {
        // What other programs had changed was stored when the transaction began.
        if ((await main.lastTid()) !== now.main) throw changed
        await applyMerge(files, plan, view)
      },
      { message: `merge branch ${name}` },
    )
    return true
  } catch (error) {
    if (error === changed) return false
    throw error
  }
}

async function record(db: Database, name: string, { now, merged }: MergeSides): Promise<void> {
  if (now.branch === merged.branch) return
  const tag = mergedPrefix(name) + formatTid(now.branch)
  await db.tag(tag, { hold: true, at: await db.sync() })
  const old: string[] = []
  for await (const each of db.tags())
    if (mergedUpTo(each.name, name) !== undefined && each.name !== tag) old.push(each.name)
  for (const each of old) await releaseTag(db, each)
}
