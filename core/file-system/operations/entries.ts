/** Adds names to directories: rules shared by create, link and clone. */
import { Directory } from '../../tree/directory.ts'
import type { Inode } from '../../tree/inode.ts'
import type { Oid } from '../../../store/ids.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import type { Node } from '../inodes/tree.ts'
import type { Name } from '../operations.ts'
import { isReserved } from '../reserved-names.ts'
import { assertDirectory, setTimes } from './attributes.ts'

/** The inode that already has a name, in a locked directory to which that name is to be added. @throws ErrnoError ENOTDIR, ENOENT, EPERM */
export async function findExisting(directory: Node, name: Name): Promise<Oid | undefined> {
  assertDirectory(directory.inode)
  if (directory.inode.nlink === 0) throw new ErrnoError('ENOENT')
  const oid = await Directory.of(directory.tree.connection, directory.inode).get(name)
  if (oid === undefined && isReserved(directory, name)) throw new ErrnoError('EPERM')
  await directory.inode.activate()
  return oid
}

/** Adds a name to a locked directory and sets the directory's times; the caller records the intent. */
export async function enterName(
  context: Context,
  directory: Node,
  name: Name,
  inode: Inode,
  timeNs: bigint,
): Promise<void> {
  await Directory.of(directory.tree.connection, directory.inode).set(name, inode)
  await directory.inode.activate()
  setTimes(directory.inode, timeNs, 'mtime', 'ctime')
  context.changedAsIntended(directory)
}
