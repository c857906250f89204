/** Makes the changes of a merge in a transaction. */
import type { File } from '../database/file.ts'
import type { Files } from '../database/files.ts'
import { FileContent } from '../history/file-content.ts'
import type { ByteRange } from '../history/file-difference.ts'
import { ScratchList, ScratchMap } from '../../store/scratch-list.ts'
import type { MomentView } from '../history/moment-view.ts'
import { depthOf, movedPath } from '../history/paths.ts'
import { textOfStored } from '../stored-names.ts'
import { isDirectory, type Inode } from '../tree/inode.ts'
import { isSymlink } from './same-content.ts'
import { CAPABILITIES, PRIVILEGES } from './merge-attributes.ts'
import type { MergePlan, StepOf } from './merge-step.ts'

const PERMISSIONS = 0o7777

/**
 * Applies the steps: files are removed, what moves is moved out of the way, directories are removed and made and what moves gets its new
 * place, then files are made and changed.
 * @param branch the state of the branch that is merged.
 */
export async function applyMerge(files: Files, plan: MergePlan, branch: MomentView): Promise<void> {
  for (const { path, isDirectory } of plan.descending('remove'))
    if (!isDirectory) await files.unlink(bytesOf(path))
  const aside = new ScratchMap<string, string>()
  try {
    await moveAside(files, plan, branch, aside)
    for (const { path, isDirectory } of plan.descending('remove'))
      if (isDirectory) await files.rmdir(bytesOf(movedPath(path, aside) ?? path))
    await giveNames(files, plan, aside)
  } finally {
    aside.close()
  }
  for (const step of plan.ascending('create')) await create(files, step, branch)
  // Afterwards, as each name that it gets changes the mtime of a directory.
  for (const { path, inode, isDirectory } of plan.descending('create'))
    if (isDirectory) await setTimes(files, bytesOf(path), await existing(branch, inode))
  for (const { path, from } of plan.ascending('link')) await files.link(bytesOf(from), bytesOf(path))
  for (const step of plan.ascending('change')) await change(files, step, branch)
}

/** @param aside receives the present path of what is moved, by the former one. */
async function moveAside(
  files: Files,
  plan: MergePlan,
  branch: MomentView,
  aside: ScratchMap<string, string>,
): Promise<void> {
  const moves = new ScratchList<string>()
  try {
    for (const { from } of plan.ascending('move')) moves.add(from, '', depthOf(from))
    let index = 0
    for (const from of moves.descending('')) {
      const place = `.zblkfs-merge-${branch.at}-${index++}`
      await files.rename(bytesOf(from), bytesOf(place))
      aside.set(from, place)
    }
  } finally {
    moves.close()
  }
}

/** Makes directories and gives what is moved its new path, those above before those below. */
async function giveNames(files: Files, plan: MergePlan, aside: ScratchMap<string, string>): Promise<void> {
  const made = plan.ascending('create')[Symbol.iterator]()
  let directory = nextDirectory(made)
  const makeUpTo = async (depth: number): Promise<void> => {
    for (; directory !== undefined && depthOf(directory.path) <= depth; directory = nextDirectory(made))
      await files.mkdir(bytesOf(directory.path), { mode: 0o700 })
  }
  for (const { path, from } of plan.ascending('move')) {
    await makeUpTo(depthOf(path) - 1)
    await files.rename(bytesOf(aside.get(from) ?? from), bytesOf(path))
  }
  await makeUpTo(Infinity)
}

function nextDirectory(made: Iterator<StepOf<'create'>>): StepOf<'create'> | undefined {
  for (let next = made.next(); next.done !== true; next = made.next())
    if (next.value.isDirectory) return next.value
  return undefined
}

async function create(
  files: Files,
  { path, inode: oid, xattrs }: StepOf<'create'>,
  branch: MomentView,
): Promise<void> {
  const inode = await existing(branch, oid)
  const at = bytesOf(path)
  const { mode, uid, gid, size } = inode
  if (isSymlink(inode)) {
    await files.symlink(Buffer.from(inode.target), at)
    await files.lchown(at, uid, gid)
    await setTimes(files, at, await existing(branch, oid))
    return
  }
  if (!isDirectory(inode)) {
    const file = await files.open(at, 'wx', 0o600)
    try {
      await copy(file, await FileContent.of(branch, inode), [{ lo: 0n, hi: size }], true)
      await file.truncate(size)
    } finally {
      await file.close()
    }
  }
  await files.chown(at, uid, gid)
  await files.chmod(at, mode & PERMISSIONS)
  await setXattrs(files, at, await existing(branch, oid), xattrs)
  await setTimes(files, at, await existing(branch, oid))
}

async function change(
  files: Files,
  { path, inode: oid, ranges, attributes, xattrs }: StepOf<'change'>,
  branch: MomentView,
): Promise<void> {
  const inode = await existing(branch, oid)
  const at = bytesOf(path)
  const { uid, gid, mode, size } = inode
  const present = await files.lstat(at)
  const capabilities = await sharedCapabilities(files, at, inode)
  const isWritten = ranges.length > 0 || attributes.includes('size')
  if (isWritten) {
    const file = await files.open(at, 'r+')
    try {
      if (attributes.includes('size')) await file.truncate(size)
      await copy(file, await FileContent.of(branch, inode), ranges, false)
    } finally {
      await file.close()
    }
  }
  if (attributes.includes('uid') || attributes.includes('gid')) {
    const wanted = (name: 'uid' | 'gid'): number =>
      attributes.includes(name) ? { uid, gid }[name] : present[name]
    await files.lchown(at, wanted('uid'), wanted('gid'))
    // The change of owner has dropped setuid and setgid, which the branch has.
    if (present.mode & PRIVILEGES && present.mode === mode) await files.chmod(at, mode & PERMISSIONS)
  }
  if (attributes.includes('mode')) await files.chmod(at, mode & PERMISSIONS)
  await setXattrs(files, at, await existing(branch, oid), xattrs)
  if (capabilities !== undefined) await files.setXattr(at, CAPABILITIES, capabilities)
  if (attributes.includes('mtime')) await setTimes(files, at, await existing(branch, oid))
  else if (isWritten) await files.lutimes(at, present.atimeNs, present.mtimeNs)
}

/** The capabilities of a file, if the branch has the same ones: a write and a change of owner drop them, though they are not merged. */
async function sharedCapabilities(files: Files, path: Buffer, branch: Inode): Promise<Buffer | undefined> {
  const shared = branch.xattrs.get(CAPABILITIES)
  if (shared === undefined || !(await files.listXattrs(path)).includes(CAPABILITIES)) return undefined
  const present = await files.getXattr(path, CAPABILITIES)
  return present.equals(shared) ? present : undefined
}

/** Sets extended attributes as an inode has them; removes those that it does not have. */
async function setXattrs(
  files: Files,
  path: Buffer,
  { xattrs }: Inode,
  names: readonly string[],
): Promise<void> {
  for (const name of names) {
    const value = xattrs.get(name)
    if (value === undefined) await files.removeXattr(path, textOfStored(name))
    else await files.setXattr(path, textOfStored(name), value)
  }
}

/** Copies ranges of a file. Zeros become holes; in a new file they are nothing. */
async function copy(
  file: File,
  content: FileContent,
  ranges: readonly ByteRange[],
  isNew: boolean,
): Promise<void> {
  for (const { lo, hi } of ranges) {
    let position = lo
    for await (const piece of content.pieces(lo, hi)) {
      const length = BigInt(piece.length)
      if (piece.some(byte => byte !== 0)) await file.write(piece, 0, piece.length, position)
      else if (!isNew && length > 0n) await file.punchHole(position, length)
      position += length
    }
  }
}

const setTimes = (files: Files, path: Buffer, inode: Inode): Promise<void> =>
  files.lutimes(path, inode.time('atime'), inode.time('mtime'))

async function existing(view: MomentView, oid: StepOf<'create'>['inode']): Promise<Inode> {
  const inode = await view.inode(oid)
  if (inode === undefined) throw view.connection.corrupt(oid, 'a name leads to a missing object')
  return inode
}

const bytesOf = (path: string): Buffer => Buffer.from(`/${path}`, 'latin1')
