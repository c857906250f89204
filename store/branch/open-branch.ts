/** Opens and creates branches (store/branches.ts). */
import { existsSync } from '../os-files.ts'
import { mkdir } from '../os-files-async.ts'
import { dirname } from 'node:path'
import { branchNames, branchPath, branchPlace, removeBranchFiles, type BranchPlace } from '../branches.ts'
import { compressionName } from '../compression.ts'
import { rememberingSource } from '../database-key.ts'
import type { EncryptionOptions } from '../encryption.ts'
import type { MasterKey } from '../encryption/keys.ts'
import { CannotOpenError, StoreError } from '../errors.ts'
import { formatTid, ROOT_OID, TID_NONE, tid as toTid, tidFromTime, type Tid } from '../ids.ts'
import { CLOCK_JUMPS } from '../indexed/database-clock.ts'
import { recognise } from '../recognise.ts'
import { DATABASE_ID } from '../sqlite/open/database-id.ts'
import { withoutWriter } from '../sqlite/open/locked-removal.ts'
import { openSqliteStore, type OpenOptions } from '../sqlite/open/open-sqlite-store.ts'
import type { Store } from '../store.ts'
import { removeSlots, withoutSlots } from './branch-keys.ts'
import { BRANCH, formatBranchNote, parseBranchNote, type BranchNote } from './branch-note.ts'
import type { BranchParent } from './branch-reads.ts'
import { BranchStore, WritableBranchStore } from './branch-store.ts'

/**
 * Opens the database at a path where a branch would be.
 * @throws LockedError, CannotOpenError: also if the database of the branch is missing, is another one, or no longer keeps the base.
 */
export async function openBranch(path: string, place: BranchPlace, options: OpenOptions): Promise<Store> {
  const isThere = existsSync(path)
  const create = options.create === true && !isThere
  const hasParent = await isDatabase(place)
  if (!isThere && hasParent)
    throw new CannotOpenError(`${place.database} has no branch ${place.name}`, { code: 'no-branch' })
  // Asked once, though the branch and its database are opened.
  const key = options.key && rememberingSource(options.key)
  if (options.readOnly === true) return await openForReading(path, { ...options, key })
  const keysOf = hasParent ? () => masterOf(place, { key }) : undefined
  const own = await openSqliteStore(path, { ...options, key, keysOf, readOnly: false, create })
  return await closedUnless(own, async () => {
    const note = await noteOf(own, place, hasParent)
    if (note === undefined) return own
    const store = new WritableBranchStore(own, { parent: await openParent(place, note, { key }), note })
    await removeSlots(own)
    return store
  })
}

type KeyingOptions = Pick<EncryptionOptions, 'key' | 'mayLackKey'>

/** Opens a database, or a branch, that is in a file. @throws as {@link openBranch} */
async function openForReading(
  path: string,
  options: Omit<OpenOptions, 'readOnly'> = {},
): Promise<BranchParent> {
  const place = branchPlace(path)
  if (place === undefined) return await openSqliteStore(path, { ...options, readOnly: true })
  const { key, mayLackKey = false } = options
  const hasParent = await isDatabase(place)
  const keysOf = hasParent ? () => masterOf(place, { key, mayLackKey }) : undefined
  const own = await openSqliteStore(path, { ...options, keysOf, readOnly: true })
  return await closedUnless(own, async () => {
    const note = await noteOf(own, place, hasParent)
    if (note === undefined) return own
    return new BranchStore(own, { parent: await openParent(place, note, { key, mayLackKey }), note })
  })
}

/** How the database at the root of all branches is opened, which opens a branch. */
async function masterOf(
  place: BranchPlace,
  keying: KeyingOptions,
): Promise<MasterKey | 'keyless' | undefined> {
  const above = branchPlace(place.database)
  if (above !== undefined && (await isDatabase(above))) return await masterOf(above, keying)
  const root = await openSqliteStore(place.database, { ...keying, readOnly: true })
  try {
    const { encrypting } = root.capabilities
    return encrypting?.hasKey === false ? 'keyless' : (await encrypting?.copy())?.master
  } finally {
    await root.close()
  }
}

/** Whether there is a database where that of a branch would be. If not, a file of such a name is a database of its own. */
const isDatabase = async ({ database }: BranchPlace): Promise<boolean> =>
  existsSync(database) && (await recognise(database)) === 'sqlite'

/**
 * Makes a branch that begins at the moment `base`, which the database has to keep from now on.
 * @param key of an encrypted database.
 * @throws CannotOpenError, also if the branch exists; StoreError if the moment cannot be read.
 */
export async function createBranch(
  database: string,
  name: string,
  base: Tid,
  key?: EncryptionOptions['key'],
): Promise<void> {
  const path = branchPath(database, name)
  const parent = await openForReading(database, { key: key && rememberingSource(key) })
  try {
    const { branch } = parent.capabilities
    if (branch !== undefined && base < branch.base)
      throw new StoreError(
        `${formatTid(base)} is a moment of ${branch.database}, before its branch ${database} begins`,
        { code: 'before-branch' },
      )
    if (!(await parent.isKept(base)))
      throw new StoreError(`${database} no longer keeps ${formatTid(base)}`, { code: 'no-moment' })
    const [root] = await parent.load([ROOT_OID], base)
    if (root === undefined)
      throw new StoreError(`${database} had no filesystem at ${formatTid(base)}`, { code: 'no-file-system' })
    const note = await noteFor(parent, base)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    const compression = compressionName(await parent.capabilities.compressing?.compression())
    const keys = await parent.capabilities.encrypting?.copy()
    const own = await openSqliteStore(path, {
      create: true,
      purpose: 'being created',
      compression,
      ...(keys !== undefined && { encryption: 'aes-256-gcm', keys: withoutSlots(keys) }),
    })
    try {
      if ((await own.lastTid()) !== TID_NONE)
        throw new CannotOpenError(`${path} exists already`, { code: 'branch-exists', path: name })
      const jumps = await parent.note(CLOCK_JUMPS)
      if (jumps !== undefined) await own.setNote(CLOCK_JUMPS, jumps)
      const now = tidFromTime(Date.now())
      // The first transaction changes nothing: it is where the log of the branch begins.
      await own.commit({
        changes: [{ oid: ROOT_OID, base: TID_NONE, record: { head: root.record } }],
        tid: now > base ? now : toTid(base + 1n),
        description: `branch ${name} at ${formatTid(base)}`,
      })
      // Last: a branch without it is not complete.
      await own.setNote(BRANCH, formatBranchNote(note))
    } finally {
      await own.close()
    }
  } finally {
    await parent.close()
  }
}

/** Removes the files of a branch. @throws LockedError if a process writes it; StoreError with the code `has-branches`. */
export async function removeBranch(database: string, name: string): Promise<void> {
  const path = branchPath(database, name)
  if (!existsSync(dirname(path))) return
  await withoutWriter(path, async () => {
    // Only the writer of a branch makes branches of it.
    const branches = await branchNames(path)
    if (branches.length > 0)
      throw new StoreError(`the branch ${name} of ${database} has branches: ${branches.join(', ')}`, {
        code: 'has-branches',
      })
    await removeBranchFiles(database, name)
  })
  // The lock's file kept its directory.
  await removeBranchFiles(database, name)
}

async function noteFor(parent: BranchParent, base: Tid): Promise<BranchNote> {
  const reader = parent.capabilities.measuring?.reader()
  try {
    const nextOid = (await reader?.totals())?.nextOid
    const databaseId = await parent.note(DATABASE_ID)
    if (nextOid === undefined || databaseId === undefined)
      throw new StoreError(`${parent.name} has no id, so it cannot have branches`, { code: 'damaged-id' })
    return { base, firstOid: nextOid, databaseId }
  } finally {
    reader?.close()
  }
}

/** Undefined for a database that is not a branch. */
async function noteOf(
  own: { note(name: string): Promise<string | undefined> },
  { database, name }: BranchPlace,
  hasParent: boolean,
): Promise<BranchNote | undefined> {
  const text = await own.note(BRANCH)
  const note = text === undefined ? undefined : parseBranchNote(text)
  if (note !== undefined || (text === undefined && !hasParent)) return note
  throw new CannotOpenError(`the branch ${name} of ${database} was not made completely`, {
    code: 'partial-branch',
    path: name,
  })
}

/** Opens the database of a branch. @throws CannotOpenError */
async function openParent(
  { database, name }: BranchPlace,
  { base, databaseId }: BranchNote,
  keying: KeyingOptions,
): Promise<BranchParent> {
  const parent = await openForReading(database, keying).catch((cause: unknown) => {
    throw new CannotOpenError(
      `the branch ${name} cannot be opened, because its database cannot: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    )
  })
  return await closedUnless(parent, async () => {
    const isSame = (await parent.note(DATABASE_ID)) === databaseId
    if (!isSame || (await parent.lastTid()) < base)
      throw new CannotOpenError(
        `${database} is not the database of which ${name} is a branch, or was put back from an older copy`,
        { code: 'other-database' },
      )
    if (!(await parent.isKept(base)))
      throw new CannotOpenError(
        `${database} no longer keeps ${formatTid(base)}, at which the branch ${name} begins`,
        { code: 'base-dropped' },
      )
    return parent
  })
}

/** Runs `work`; closes the store if it fails. */
async function closedUnless<T>(store: { close(): Promise<void> }, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await store.close().catch(() => undefined)
    throw error
  }
}
