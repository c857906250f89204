/** Open directories. */
import { constants } from 'node:fs'
import { ErrnoError } from '../../file-system/errno.ts'
import {
  COOKIE_PARENT,
  DirectoryListing,
  dotEntries,
} from '../../file-system/operations/directory-cookies.ts'
import { type DirectoryEntry, type Fh, type Name, name as toName } from '../../file-system/operations.ts'
import { openDirectory, type Context } from './context.ts'
import { isDirectoryTarget, targetOf, type Node, type Target } from './nodes.ts'

const { S_IFDIR, S_IFREG } = constants

/** @throws ErrnoError ENOTDIR */
export function opendir({ handles, nodes }: Context, node: Node): Fh {
  if (!isDirectoryTarget(node.target)) throw new ErrnoError('ENOTDIR')
  return handles.add({
    kind: 'directory',
    node: nodes.retain(node),
    listing: new DirectoryListing(handles.listingMemory),
    ignoresAccess: true,
  })
}

/** The entries after a cookie, at most `limit`. @throws ErrnoError EBADF */
export async function readdir(
  context: Context,
  fh: Fh,
  cookie: bigint,
  limit: number,
): Promise<readonly DirectoryEntry[]> {
  const handle = context.handles.get(fh)
  if (handle.kind !== 'directory') throw new ErrnoError('EBADF')
  const { node, listing } = handle
  const entries: DirectoryEntry[] = []
  const dots = dotEntries(node.ino, (node.parent ?? node).ino)
  entries.push(...dots.filter(dot => cookie < dot.cookie))
  let after = cookie < COOKIE_PARENT ? COOKIE_PARENT : cookie
  const rest = Math.max(1, limit - entries.length)
  for (const [name, target] of await list(context, node, listing.nameAt(after), rest)) {
    after = listing.cookieOf(name, after)
    const type = isDirectoryTarget(target) ? S_IFDIR : S_IFREG
    entries.push({ name, ino: context.nodes.inoOf(node, name, target), type, cookie: after })
  }
  return entries.slice(0, limit)
}

async function list(
  context: Context,
  { target, view }: Node,
  after: Name | undefined,
  limit: number,
): Promise<(readonly [Name, Target])[]> {
  if (target.kind === 'fixed')
    return target.entries.filter(([name]) => after === undefined || name > after).slice(0, limit)
  if (target.kind !== 'directory') return []
  return await view.use(async connection => {
    const directory = await openDirectory(context, connection, target.ref)
    return (await directory.after(after, limit)).map(entry => [toName(entry.name), targetOf(entry)] as const)
  })
}
