/** opendir(3) and readdir(3). */
import type { Awaitable } from '../../../store/awaitable.ts'
import { constants } from 'node:fs'
import { isDamageError } from '../../../store/errors.ts'
import type { Oid } from '../../../store/ids.ts'
import { Directory, type NamedInode } from '../../tree/directory.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node, Tree } from '../inodes/tree.ts'
import {
  type DirectoryEntry,
  type Entry,
  type Fh,
  type Ino,
  type ListedEntry,
  name as toName,
} from '../operations.ts'
import { noteAccess } from './access-time.ts'
import type { DirectoryHandle } from '../inodes/handles.ts'
import { assertDirectory, entryOf } from './attributes.ts'
import { COOKIE_PARENT, DirectoryListing, dotEntries } from './directory-cookies.ts'
import { type Inode, typeOf } from '../../tree/inode.ts'
import { typeInRecord } from '../../tree/inode-type.ts'

/** Maximum entries per call: their inodes are loaded together. */
const BATCH_MAX = 256

/** @throws ErrnoError ENOTDIR */
export function opendir(context: Context, ino: Ino, flags: number): Awaitable<Fh> {
  return context.look(ino, (node, inode) => {
    assertDirectory(inode)
    node.handles++
    const ignoresAccess = (flags & constants.O_NOATIME) !== 0
    const listing = new DirectoryListing(context.handles.listingMemory)
    return context.handles.add({ kind: 'directory', node, listing, ignoresAccess })
  })
}

/** @throws ErrnoError EBADF */
export function readdir(
  context: Context,
  ino: Ino,
  fh: Fh,
  cookie: bigint,
  limit: number,
): Awaitable<readonly DirectoryEntry[]> {
  const handle = directoryHandle(context, ino, fh)
  return context.read(
    ino,
    async (node, inode) => await listWithDots(context, node, inode, handle, cookie, limit, storedTypesOf),
  )
}

/**
 * The inodes of a listing are loaded together, and entered while the directory is locked: a lookup of each would lock it and
 * search it again. @throws ErrnoError EBADF
 */
export function readdirplus(
  context: Context,
  ino: Ino,
  fh: Fh,
  cookie: bigint,
  limit: number,
  fits: (entry: DirectoryEntry) => boolean,
): Awaitable<readonly ListedEntry[]> {
  const handle = directoryHandle(context, ino, fh)
  return context.read(ino, async (node, inode) => {
    const listed: ListedEntry[] = []
    for (const entry of await listWithDots(context, node, inode, handle, cookie, limit, typesOf)) {
      if (!fits(entry)) break
      const isDot = entry.cookie <= COOKIE_PARENT
      const entering = isDot ? undefined : enterListed(context, node, entry)
      listed.push({ entry, found: entering instanceof Promise ? await entering : entering })
    }
    return listed
  })
}

/** Adds a reference. Undefined for an inode that cannot be used: using it gives the error. */
function enterListed(
  context: Context,
  directory: Node,
  { name, ino }: DirectoryEntry,
): Entry | undefined | Promise<Entry | undefined> {
  const node = context.hold(directory.tree.nodeOf(ino))
  const enter = (): Entry | undefined => {
    try {
      if (node.oid !== directory.tree.rootOid) node.name = { parent: directory.oid, name }
      return entryOf(node)
    } catch {
      return undefined
    } finally {
      context.leave(node)
    }
  }
  // The listing has loaded it, unless it is damaged.
  const loading = node.inode.activate()
  if (loading === undefined) return enter()
  return loading.then(enter, () => {
    context.leave(node)
    return undefined
  })
}

/** @throws ErrnoError EBADF */
function directoryHandle(context: Context, ino: Ino, fh: Fh): DirectoryHandle {
  const handle = context.handles.get(fh)
  if (handle.kind !== 'directory' || handle.node.ino !== ino) throw new ErrnoError('EBADF')
  return handle
}

async function listWithDots(
  context: Context,
  node: Node,
  inode: Inode,
  { listing, ignoresAccess }: DirectoryHandle,
  cookie: bigint,
  limit: number,
  findTypes: FindTypes,
): Promise<readonly DirectoryEntry[]> {
  if (cookie === 0n && !ignoresAccess) noteAccess(context, node)
  const parent = inode.parent?.oid
  const dots = dotEntries(node.ino, parent === undefined ? node.ino : node.tree.inoOf(parent))
  const entries = dots.filter(dot => dot.cookie > cookie).slice(0, limit)
  const rest = Math.min(limit - entries.length, BATCH_MAX)
  if (rest > 0 && inode.nlink > 0) entries.push(...(await list(node, listing, cookie, rest, findTypes)))
  return entries
}

async function list(
  { tree, inode }: Node,
  listing: DirectoryListing,
  cookie: bigint,
  limit: number,
  findTypes: FindTypes,
): Promise<DirectoryEntry[]> {
  const found = await Directory.of(tree.connection, inode).after(listing.nameAt(cookie), limit)
  const types = await findTypes(tree, found).catch(unlessUnreadable)
  const entries: DirectoryEntry[] = []
  let after = cookie
  for (const [i, { name, oid }] of found.entries()) {
    after = listing.cookieOf(toName(name), after)
    const type = types === undefined ? await typeIfReadable(tree, oid) : (types[i] ?? 0)
    entries.push({ name: toName(name), ino: tree.shownInoOf(oid), type, cookie: after })
  }
  return entries
}

/** Finds the types of inodes that are all readable. @throws CorruptRecordError, ObjectNotFoundError */
type FindTypes = (tree: Tree, found: readonly NamedInode[]) => Promise<readonly number[]>

/**
 * As {@link typesOf}, but the inodes that are not in memory stay out of it: a listing of names needs nothing else of them. The type of
 * an inode never changes, so any of its records will do.
 */
async function storedTypesOf(tree: Tree, found: readonly NamedInode[]): Promise<readonly number[]> {
  const { connection } = tree
  const types = found.map(({ oid }) =>
    (connection.known(oid)?.status ?? 'ghost') === 'ghost' ? undefined : typeOf(tree.inodeAt(oid)),
  )
  const missing = found.filter((_, index) => types[index] === undefined).map(({ oid }) => oid)
  const revisions = missing.length === 0 ? [] : await connection.records.load(missing)
  let next = 0
  for (const [index, type] of types.entries()) {
    if (type !== undefined) continue
    const [oid, revision] = [missing[next], revisions[next]]
    next++
    types[index] =
      oid === undefined || revision === undefined
        ? undefined
        : typeInRecord(revision.record, oid, revision.tid)
  }
  const known = types.filter(type => type !== undefined)
  // Others are new, or records of another form.
  return known.length === types.length ? known : await typesOf(tree, found)
}

/** The types of inodes that are all readable, which are loaded. @throws CorruptRecordError, ObjectNotFoundError */
async function typesOf(tree: Tree, found: readonly NamedInode[]): Promise<readonly number[]> {
  const inodes = found.map(({ oid }) => tree.inodeAt(oid))
  await tree.connection.loadMany(inodes.map(({ object }) => object))
  const types: number[] = []
  for (const inode of inodes) {
    const loading = inode.activate()
    if (loading !== undefined) await loading
    types.push(typeOf(inode))
  }
  return types
}

/** An inode's type; 0, which is DT_UNKNOWN, if it cannot be read: it is listed, and using it gives the error. */
const typeIfReadable = async (tree: Tree, oid: Oid): Promise<number> =>
  (await typesOf(tree, [{ name: '', oid }]).catch(unlessUnreadable))?.[0] ?? 0

function unlessUnreadable(error: unknown): undefined {
  if (isDamageError(error)) return undefined
  throw error
}
