/**
 * Branches of a database: writable states that begin at one of its moments, next to it.
 *
 * A branch NAME of the database DB is the file `DB-branches/NAME.zblk` with its own log: a database that has only what was changed in the
 * branch. Whatever it does not have is read from DB as of the **base**, the moment at which the branch begins
 * (branch/branch-store.ts). So making a branch copies nothing. A branch has its own lock, intents and writer, and can be
 * mounted beside DB.
 *
 * A branch may have branches: those of `DB-branches/NAME.zblk` are in `DB-branches/NAME.zblk-branches/`, and begin at moments not before
 * its base. `NAME/OTHER` is the name of one of them relative to DB.
 *
 * DB has to keep the base: the caller holds it by a tag ({@link baseTag}) before {@link createBranch}, and deletes that
 * after {@link removeBranch}.
 */
import { readdir, rm, rmdir } from './os-files-async.ts'
import { basename, dirname, join } from 'node:path'
import { isDatabaseUrl } from './database-name.ts'
import type { Tid } from './ids.ts'
import { StoreError, systemCode } from './errors.ts'

const DIRECTORY_SUFFIX = '-branches'
const FILE_SUFFIX = '.zblk'
const NAME_MAX_LENGTH = 100
const NAME = /^[A-Za-z0-9_][A-Za-z0-9._+-]*$/

const TAG_PREFIX = 'branch:'

/** The files of a branch begin with its own file's name, and no other branch's do. */
const isBranchName = (name: string): boolean =>
  NAME.test(name) && name.length <= NAME_MAX_LENGTH && !name.includes(FILE_SUFFIX)

export interface BranchPlace {
  /** The path of the database that it is a branch of. */
  readonly database: string
  readonly name: string
}

/** What a store says of itself that is a branch (capabilities.ts). */
export interface Branch {
  /** The moment of its database at which it begins; its own transactions are later. */
  readonly base: Tid
  /** The path of that database. */
  readonly database: string
}

/** @throws StoreError for a name that a branch cannot have, or a database that cannot have branches. */
export function branchPath(database: string, name: string): string {
  if (isDatabaseUrl(database))
    throw new StoreError(`${database} is on a server, and cannot have branches`, { code: 'no-branches' })
  if (!isBranchName(name))
    throw new StoreError(
      `'${name}' cannot be the name of a branch: it has up to ${NAME_MAX_LENGTH} letters, digits and . _ + -, begins with a letter or digit, and does not contain '${FILE_SUFFIX}'`,
      { code: 'bad-branch-name' },
    )
  return join(`${database}${DIRECTORY_SUFFIX}`, `${name}${FILE_SUFFIX}`)
}

/**
 * The branch NAME of a database, or NAME/OTHER: a branch of its branch, and so on.
 * @throws as {@link branchPath}
 */
export function branchAt(database: string, names: string): BranchPlace {
  const parts = names.split('/')
  const name = parts.pop() ?? ''
  const place = { database: parts.reduce(branchPath, database), name }
  // Throws if a branch cannot have this name.
  branchPath(place.database, name)
  return place
}

/** The parent and name of the branch at a path; undefined if the path is not that of a branch. */
export function branchPlace(path: string): BranchPlace | undefined {
  const directory = dirname(path)
  if (isDatabaseUrl(path) || !directory.endsWith(DIRECTORY_SUFFIX) || !path.endsWith(FILE_SUFFIX))
    return undefined
  const name = basename(path, FILE_SUFFIX)
  const database = directory.slice(0, -DIRECTORY_SUFFIX.length)
  return isBranchName(name) && !database.endsWith('/') ? { database, name } : undefined
}

/** The tag that keeps the base of a branch in the database. */
export const baseTag = (name: string): string => `${TAG_PREFIX}${name}`

/** How the tags begin that name moments of the database up to which a branch was merged. */
export const mergedPrefix = (name: string): string => `merged:${name}:`

/** The branch whose base a tag keeps; undefined for other tags. */
export const branchOfTag = (tag: string): string | undefined =>
  tag.startsWith(TAG_PREFIX) ? tag.slice(TAG_PREFIX.length) : undefined

/** The names of the branches whose files are there, in order. */
export async function branchNames(database: string): Promise<readonly string[]> {
  if (isDatabaseUrl(database)) return []
  try {
    const names = await readdir(`${database}${DIRECTORY_SUFFIX}`)
    return names
      .map(name => branchPlace(join(`${database}${DIRECTORY_SUFFIX}`, name))?.name)
      .filter(name => name !== undefined)
      .sort()
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return []
    throw error
  }
}

/** Removes the files of a branch, which must not be open anywhere; missing ones are not an error. */
export async function removeBranchFiles(database: string, name: string): Promise<void> {
  const path = branchPath(database, name)
  const [directory, file] = [dirname(path), basename(path)]
  // The file first: without it, nothing opens the rest.
  await rm(path, { force: true })
  const names = await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  })
  for (const side of names.filter(each => each.startsWith(`${file}-`)))
    await rm(join(directory, side), { recursive: true, force: true })
  await rmdir(directory).catch((error: unknown) => {
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '')) throw error
  })
}
