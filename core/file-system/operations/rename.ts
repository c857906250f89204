/**
 * rename(2) in all its forms. The namespace lock is held, so the inodes found first are those renamed. The new name is
 * added before the old one is removed.
 */
import { constants } from 'node:fs'
import { Directory } from '../../tree/directory.ts'
import type { Oid } from '../../../store/ids.ts'
import { ErrnoError } from '../errno.ts'
import { type Caller, DOT, DOT_DOT, type Ino, type Name, type RenameFlags } from '../operations.ts'
import { activateAll, assertDirectory, checkName, checkNewName, setTimes } from './attributes.ts'
import { CREATION_BYTES, newInode } from './create.ts'
import type { Context } from '../context.ts'
import type { Node } from '../inodes/tree.ts'
import { isReserved } from '../reserved-names.ts'
import { isDirectory } from '../../tree/inode.ts'

const { S_IFCHR } = constants
const WHITEOUT_RDEV = 0

/** One side of a rename: a directory, a name in it, and the inode of that name. */
interface Side<Found extends Node | undefined> {
  readonly directory: Node
  readonly name: Name
  readonly node: Found
}

/**
 * @throws ErrnoError ENOENT, EEXIST, ENOTDIR, EISDIR, ENOTEMPTY, EXDEV, and EINVAL for a directory that would be moved
 *   into itself.
 */
export function rename(
  context: Context,
  from: { readonly parent: Ino; readonly name: Name },
  to: { readonly parent: Ino; readonly name: Name },
  flags: RenameFlags,
  caller: Caller,
): Promise<void> {
  checkName(from.name)
  checkName(to.name)
  if (flags.exchange === true && (flags.noReplace === true || flags.whiteout === true))
    throw new ErrnoError('EINVAL')
  if (flags.aside !== undefined) checkNewName(flags.aside)
  return context.changeNames([from.parent, to.parent], async (...[oldDirectory, newDirectory]) => {
    if (oldDirectory === undefined || newDirectory === undefined) throw new ErrnoError('EINVAL')
    if (oldDirectory.tree !== newDirectory.tree) throw new ErrnoError('EXDEV')
    const node = await find(context, oldDirectory, from.name)
    let target: Node | undefined
    try {
      target = await find(context, newDirectory, to.name)
      if (node === undefined) throw new ErrnoError(isReserved(oldDirectory, from.name) ? 'EPERM' : 'ENOENT')
      if (target === undefined && isReserved(newDirectory, to.name)) throw new ErrnoError('EPERM')
      if (target !== undefined && flags.noReplace === true) throw new ErrnoError('EEXIST')
      if (target === undefined && flags.exchange === true) throw new ErrnoError('ENOENT')
      if (node === target) return
      const source = { directory: oldDirectory, name: from.name, node }
      const locked = [oldDirectory, newDirectory, node, ...(target === undefined ? [] : [target])]
      await context.lockAll(locked, async () => {
        const isExchange = flags.exchange === true
        const timeNs = context.nowNs()
        if (target !== undefined && isExchange)
          await exchange(context, source, { directory: newDirectory, name: to.name, node: target }, timeNs)
        else if (target !== undefined && flags.aside !== undefined) {
          const replaced = { directory: newDirectory, name: to.name, node: target }
          // Only a transaction can store it: it is in no intent.
          return await replaceAside(context, source, replaced, flags.aside, timeNs)
        } else
          await replace(context, source, { directory: newDirectory, name: to.name, node: target }, timeNs)
        const [{ parent, name }, { parent: newParent, name: newName }] = [from, to]
        context.intend(timeNs, { kind: 'rename', parent, name, newParent, newName, isExchange })
        // A whiteout is in no intent.
        if (flags.whiteout === true) await leaveWhiteout(context, oldDirectory, from.name, caller)
      })
    } finally {
      if (node !== undefined) context.leave(node)
      if (target !== undefined) context.leave(target)
    }
  })
}

async function replace(
  context: Context,
  from: Side<Node>,
  to: Side<Node | undefined>,
  timeNs: bigint,
): Promise<void> {
  const { node } = from
  const { node: target } = to
  const isMovedDirectory = isDirectory(node.inode)
  if (to.directory.inode.nlink === 0) throw new ErrnoError('ENOENT')
  if (isMovedDirectory) await assertNotWithin(to.directory, node)
  if (target !== undefined) await assertReplaceable(node, target)
  await to.directory.inode.activate()
  await entriesOf(to.directory).set(to.name, node.inode)
  await from.directory.inode.activate()
  await entriesOf(from.directory).delete(from.name)

  const all = [from.directory, to.directory, node, ...(target === undefined ? [] : [target])]
  await activateAll(all)
  if (target !== undefined) {
    const isReplacedDirectory = isDirectory(target.inode)
    target.inode.nlink = isReplacedDirectory ? 0 : target.inode.nlink - 1
    if (isReplacedDirectory) to.directory.inode.nlink--
    if (target.inode.nlink === 0) context.bookkeeping.orphaned(target)
  }
  if (isMovedDirectory) moveDirectory(from.directory, to.directory)
  target?.inode.unnamed(to.directory.oid, to.name)
  enterName(node, to)
  finish(context, all, timeNs)
}

/** Renames `to` to `aside`, and `from` to the name that `to` had. */
async function replaceAside(
  context: Context,
  from: Side<Node>,
  to: Side<Node>,
  aside: Name,
  timeNs: bigint,
): Promise<void> {
  const { directory, node: replaced } = to
  if (directory.inode.nlink === 0) throw new ErrnoError('ENOENT')
  if (isDirectory(from.node.inode)) await assertNotWithin(directory, from.node)
  if (isReserved(directory, aside)) throw new ErrnoError('EPERM')
  await directory.inode.activate()
  if ((await entriesOf(directory).get(aside)) !== undefined) throw new ErrnoError('EEXIST')
  await entriesOf(directory).set(aside, replaced.inode)
  await replaced.inode.activate()
  replaced.inode.unnamed(directory.oid, to.name)
  enterName(replaced, { directory, name: aside, node: replaced })
  setTimes(replaced.inode, timeNs, 'ctime')
  context.changed(replaced)
  await replace(context, from, { ...to, node: undefined }, timeNs)
}

/** Enters a whiteout under a name that has just become free. */
async function leaveWhiteout(context: Context, directory: Node, name: Name, caller: Caller): Promise<void> {
  await directory.inode.activate()
  const inode = await newInode(
    context,
    directory,
    { mode: S_IFCHR, rdev: WHITEOUT_RDEV },
    caller,
    context.nowNs(),
  )
  inode.named(directory.inode.ref, name)
  await entriesOf(directory).set(name, inode)
  await directory.inode.activate()
  context.bookkeeping.created()
  context.changed(directory, CREATION_BYTES)
}

async function exchange(context: Context, from: Side<Node>, to: Side<Node>, timeNs: bigint): Promise<void> {
  if (isDirectory(from.node.inode)) await assertNotWithin(to.directory, from.node)
  await to.node.inode.activate()
  if (isDirectory(to.node.inode)) await assertNotWithin(from.directory, to.node)
  const all = [from.directory, to.directory, from.node, to.node]
  await activateAll(all)
  await entriesOf(to.directory).set(to.name, from.node.inode)
  await from.directory.inode.activate()
  await entriesOf(from.directory).set(from.name, to.node.inode)

  await activateAll(all)
  if (isDirectory(from.node.inode)) moveDirectory(from.directory, to.directory)
  if (isDirectory(to.node.inode)) moveDirectory(to.directory, from.directory)
  enterName(from.node, to)
  enterName(to.node, from)
  finish(context, all, timeNs)
}

/** Sets the times of the directories and of the renamed inodes. */
function finish(context: Context, [from, to, ...moved]: readonly Node[], timeNs: bigint): void {
  for (const directory of [from, to]) {
    if (directory === undefined) continue
    setTimes(directory.inode, timeNs, 'mtime', 'ctime')
    context.changedAsIntended(directory)
  }
  for (const node of moved) {
    setTimes(node.inode, timeNs, 'ctime')
    context.changedAsIntended(node)
  }
}

function enterName(node: Node, { directory, name }: Side<Node | undefined>): void {
  node.inode.named(directory.inode.ref, name)
  node.name = { parent: directory.oid, name }
}

function moveDirectory(from: Node, to: Node): void {
  if (from === to) return
  from.inode.nlink--
  to.inode.nlink++
}

async function assertReplaceable(node: Node, target: Node): Promise<void> {
  await activateAll([node, target])
  if (!isDirectory(target.inode)) {
    if (isDirectory(node.inode)) throw new ErrnoError('ENOTDIR')
    return
  }
  if (!isDirectory(node.inode)) throw new ErrnoError('EISDIR')
  if (!(await entriesOf(target).isEmpty())) throw new ErrnoError('ENOTEMPTY')
}

/** @throws ErrnoError EINVAL if `directory` is `node` or below it. */
async function assertNotWithin(directory: Node, node: Node): Promise<void> {
  const { tree } = directory
  const passed = new Set<Oid>()
  for (let at = directory.oid; at !== tree.rootOid;) {
    if (passed.has(at)) throw tree.connection.corrupt(at, 'the directory contains itself')
    passed.add(at)
    if (at === node.oid) throw new ErrnoError('EINVAL', 'a directory cannot be moved into itself')
    const inode = tree.inodeAt(at)
    await inode.activate()
    const parent = inode.parent?.oid
    if (parent === undefined || parent === at) return
    at = parent
  }
  if (node.oid === tree.rootOid) throw new ErrnoError('EBUSY')
}

async function find(context: Context, directory: Node, name: Name): Promise<Node | undefined> {
  await directory.inode.activate()
  assertDirectory(directory.inode)
  if (name === DOT || name === DOT_DOT) throw new ErrnoError('EBUSY')
  const oid = await entriesOf(directory).get(name)
  return oid === undefined ? undefined : context.hold(directory.tree.node(oid))
}

const entriesOf = (directory: Node): Directory => Directory.of(directory.tree.connection, directory.inode)
