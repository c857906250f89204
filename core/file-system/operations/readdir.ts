/** opendir(3) and readdir(3). */
import { constants } from 'node:fs'
import { Directory } from '../../tree/directory.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import { type DirectoryEntry, type Fh, type Ino, name as toName } from '../operations.ts'
import { noteAccess } from './access-time.ts'
import { assertDirectory, typeOf } from './attributes.ts'
import { DirectoryListing, dotEntries } from './directory-cookies.ts'

/** Maximum entries per call: their inodes are loaded together. */
const BATCH_MAX = 256

/** @throws ErrnoError ENOTDIR */
export function opendir(context: Context, ino: Ino, flags: number): Promise<Fh> {
  return context.look(ino, (node, inode) => {
    assertDirectory(inode)
    node.handles++
    const ignoresAccess = (flags & constants.O_NOATIME) !== 0
    return context.handles.add({ kind: 'directory', node, listing: new DirectoryListing(), ignoresAccess })
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
  const inodes = found.map(({ oid }) => tree.inodeAt(oid))
  await tree.connection.loadMany(inodes.map(({ object }) => object))
  const entries: DirectoryEntry[] = []
  let after = cookie
  for (const [i, { name, oid }] of found.entries()) {
    const inode = inodes[i]
    if (inode === undefined) break
    await inode.activate()
    after = listing.cookieOf(toName(name), after)
    entries.push({ name: toName(name), ino: tree.inoOf(oid), type: typeOf(inode), cookie: after })
  }
  return entries
}
