/** opendir(3) and readdir(3). */
import { constants } from 'node:fs'
import { CorruptRecordError, ObjectNotFoundError } from '../../../store/errors.ts'
import type { Oid } from '../../../store/ids.ts'
import { Directory, type NamedInode } from '../../tree/directory.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node, Tree } from '../inodes/tree.ts'
import { type DirectoryEntry, type Fh, type Ino, name as toName } from '../operations.ts'
import { noteAccess } from './access-time.ts'
import { assertDirectory } from './attributes.ts'
import { DirectoryListing, dotEntries } from './directory-cookies.ts'
import { typeOf } from '../../tree/inode.ts'

/** Maximum entries per call: their inodes are loaded together. */
const BATCH_MAX = 256

/** @throws ErrnoError ENOTDIR */
export function opendir(context: Context, ino: Ino, flags: number): Promise<Fh> {
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
): Promise<readonly DirectoryEntry[]> {
  const handle = context.handles.get(fh)
  if (handle.kind !== 'directory' || handle.node.ino !== ino) throw new ErrnoError('EBADF')
  return context.read(ino, async (node, inode) => {
    if (cookie === 0n && !handle.ignoresAccess) noteAccess(context, node)
    const parent = inode.parent?.oid
    const dots = dotEntries(ino, parent === undefined ? ino : node.tree.inoOf(parent))
    const entries = dots.filter(dot => dot.cookie > cookie).slice(0, limit)
    const rest = Math.min(limit - entries.length, BATCH_MAX)
    if (rest > 0 && inode.nlink > 0) entries.push(...(await list(node, handle.listing, cookie, rest)))
    return entries
  })
}

async function list(
  { tree, inode }: Node,
  listing: DirectoryListing,
  cookie: bigint,
  limit: number,
): Promise<DirectoryEntry[]> {
  const found = await Directory.of(tree.connection, inode).after(listing.nameAt(cookie), limit)
  const types = await typesOf(tree, found).catch(unlessUnreadable)
  const entries: DirectoryEntry[] = []
  let after = cookie
  for (const [i, { name, oid }] of found.entries()) {
    after = listing.cookieOf(toName(name), after)
    const type = types === undefined ? await typeIfReadable(tree, oid) : (types[i] ?? 0)
    entries.push({ name: toName(name), ino: tree.shownInoOf(oid), type, cookie: after })
  }
  return entries
}

/** The types of inodes that are all readable. @throws CorruptRecordError, ObjectNotFoundError */
async function typesOf(tree: Tree, found: readonly NamedInode[]): Promise<readonly number[]> {
  const inodes = found.map(({ oid }) => tree.inodeAt(oid))
  await tree.connection.loadMany(inodes.map(({ object }) => object))
  const types: number[] = []
  for (const inode of inodes) {
    await inode.activate()
    types.push(typeOf(inode))
  }
  return types
}

/** An inode's type; 0, which is DT_UNKNOWN, if it cannot be read: it is listed, and using it tells what is wrong. */
const typeIfReadable = async (tree: Tree, oid: Oid): Promise<number> =>
  (await typesOf(tree, [{ name: '', oid }]).catch(unlessUnreadable))?.[0] ?? 0

function unlessUnreadable(error: unknown): undefined {
  if (error instanceof CorruptRecordError || error instanceof ObjectNotFoundError) return undefined
  throw error
}
