/**
 * Branches of a database (store/branches.ts). The base of each is kept by a held tag `branch:NAME`, so that a pack keeps it;
 * merge.ts has the tags of merges.
 */
import { baseTag, branchNames, branchOfTag, branchPath, mergedPrefix } from '../../store/branches.ts'
import { StoreError } from '../../store/errors.ts'
import { parseTid } from '../../store/ids.ts'
import { createBranch, removeBranch } from '../../store/open-store.ts'
import type { Database } from './database.ts'
import type { DatabaseHistory, TagInfo } from './history.ts'

export interface BranchInfo {
  readonly name: string
  /** The path of its file, which commands and `open` take as a database. */
  readonly path: string
  /** The moment at which it begins; undefined if the database no longer has its tag. */
  readonly base: { readonly tid: string; readonly time: Date } | undefined
  /** Whether its files are there. */
  readonly isThere: boolean
}

/** The branches of a database, by name. */
export async function branchesOf(
  database: string,
  { branch, tags }: Pick<DatabaseHistory, 'branch'> & { readonly tags: AsyncIterable<TagInfo> },
): Promise<readonly BranchInfo[]> {
  const bases = new Map<string, TagInfo>()
  for await (const tag of tags) {
    const name = branchOfTag(tag.name)
    // A branch inherits the tags of its database, also those of other branches. Their moments are before its base.
    if (name !== undefined && !(branch !== undefined && tag.tid < branch.base)) bases.set(name, tag)
  }
  const there = new Set(await branchNames(database))
  return [...new Set([...there, ...bases.keys()])].sort().map(name => {
    const base = bases.get(name)
    return {
      name,
      path: branchPath(database, name),
      base: base && { tid: base.tid, time: base.time },
      isThere: there.has(name),
    }
  })
}

const branchesIn = (db: Database): Promise<readonly BranchInfo[]> =>
  branchesOf(db.name, { branch: db.branch, tags: db.tags() })

/**
 * Makes a branch that begins at a moment, by default the present. Nothing is copied.
 * @param db the database, opened for changes.
 * @returns the tid of the moment.
 * @throws StoreError with the code `branch-exists`, `no-moment`, `bad-branch-name`, `no-branches`, `before-branch`.
 */
export async function makeBranch(db: Database, name: string, at?: string): Promise<string> {
  // It refuses names that a branch cannot have.
  branchPath(db.name, name)
  if ((await branchesIn(db)).some(branch => branch.name === name))
    throw new StoreError(`${db.name} has a branch ${name} already`, { code: 'branch-exists' })
  // A branch may have inherited a tag of this name. Any other one is that of a branch that is being made at this moment.
  if (db.branch !== undefined) await releaseTag(db, baseTag(name), db.branch.base)
  await db.sync()
  const base = await db.tag(baseTag(name), { hold: true, ...(at !== undefined && { at }) })
  const tid = parseTid(base)
  try {
    if (tid === undefined) throw new StoreError(`${base} is not a transaction`)
    await createBranch(db.name, name, tid, db.key)
  } catch (error) {
    // Another process has made the branch meanwhile, or is making it: its files and its tag stay.
    if (error instanceof StoreError && (error.code === 'branch-exists' || error.code === 'locked'))
      throw error
    // What cannot be removed now is listed as incomplete, and can be deleted.
    await removeBranch(db.name, name).catch(() => undefined)
    await releaseTag(db, baseTag(name)).catch(() => undefined)
    throw error
  }
  return base
}

/**
 * Deletes a branch with everything that is only in it.
 * @throws LockedError if it is in use; StoreError with the code `no-branch`, or `has-branches`.
 */
export async function deleteBranch(db: Database, name: string): Promise<void> {
  const found = (await branchesIn(db)).find(branch => branch.name === name)
  if (found === undefined) throw new StoreError(`${db.name} has no branch ${name}`, { code: 'no-branch' })
  await removeBranch(db.name, name)
  const merged: string[] = []
  for await (const tag of db.tags()) if (tag.name.startsWith(mergedPrefix(name))) merged.push(tag.name)
  for (const tag of merged) await releaseTag(db, tag)
  // Last: the branch is listed until then, and can be deleted again.
  await releaseTag(db, baseTag(name))
}

/** Releases and deletes a tag, if it exists. @param before only if its moment is earlier than this one. */
export async function releaseTag(db: Database, tag: string, before?: string): Promise<void> {
  for await (const { name, tid } of db.tags()) {
    if (name !== tag || (before !== undefined && tid >= before)) continue
    await db.tag(tag, { hold: false })
    await db.untag(tag)
    return
  }
}
