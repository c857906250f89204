/** lookup and forget: the inodes of names, and the kernel's references to them. */
import { chain, ending, type Awaitable } from '../../../store/awaitable.ts'
import { Directory } from '../../tree/directory.ts'
import type { Inode } from '../../tree/inode.ts'
import type { Oid } from '../../../store/ids.ts'
import type { Context } from '../context.ts'
import { ErrnoError, NAME_ABSENT } from '../errno.ts'
import { treeNumberOf, type Node } from '../inodes/tree.ts'
import { DOT, DOT_DOT, type Entry, type Ino, type Name } from '../operations.ts'
import { isLiveRoot, MOMENT_PREFIX } from '../reserved-names.ts'
import { assertDirectory, checkName, entryOf } from './attributes.ts'

/** @throws ErrnoError ENOENT, ENOTDIR, ENAMETOOLONG */
export function lookup(context: Context, parent: Ino, name: Name): Awaitable<Entry> {
  checkName(name)
  return context.read(parent, (node, inode) => {
    assertDirectory(inode)
    return chain(find(node, inode, name), found => {
      if (found !== undefined) return enterFound(context, node, name, found)
      if (isLiveRoot(node) && name.startsWith(MOMENT_PREFIX))
        return enterMoment(context, name.slice(MOMENT_PREFIX.length))
      throw NAME_ABSENT
    })
  })
}

/** Removes references of the kernel. Never fails. */
export function forget(context: Context, ino: Ino, count: number): void {
  const number = treeNumberOf(ino)
  const tree = number === 0 ? context.live : context.views.known(number)
  const node = tree?.knownOf(ino)
  if (node === undefined) return
  node.forget(count)
  context.dropUnused(node)
}

/** The entry of an inode found in a directory. Adds a reference. */
export function enterFound(context: Context, directory: Node, name: Name, oid: Oid): Awaitable<Entry> {
  const node = context.hold(directory.tree.node(oid))
  const entered = (): Entry => {
    if (oid !== directory.tree.rootOid) node.name = { parent: directory.oid, name }
    return entryOf(node)
  }
  return ending(
    () => chain(node.inode.activate(), entered),
    () => context.leave(node),
  )
}

function find(node: Node, inode: Inode, name: Name): Awaitable<Oid | undefined> {
  if (name === DOT) return node.oid
  if (name === DOT_DOT) return inode.parent?.oid
  return Directory.of(node.tree.connection, inode).get(name)
}

async function enterMoment(context: Context, text: string): Promise<Entry> {
  const tree = await context.views.find(text)
  if (tree === undefined) throw new ErrnoError('ENOENT')
  const { root } = tree
  try {
    await context.views.attach(tree)
    await root.inode.activate()
    // `@2h` soon means another moment.
    return { ...entryOf(root), nameValidity: 'briefly' }
  } finally {
    context.leave(root)
  }
}
