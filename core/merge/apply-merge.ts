/** Makes the changes of a merge in a transaction. */
import type { File } from '../database/file.ts'
import type { Files } from '../database/files.ts'
import { FileContent } from '../history/file-content.ts'
import type { ByteRange } from '../history/file-difference.ts'
import type { MomentView } from '../history/moment-view.ts'
import { depthOf, movedPath } from '../history/paths.ts'
import { isDirectory, type Inode } from '../tree/inode.ts'
import { isSymlink } from './same-content.ts'
import type { MergeStep } from './merge-step.ts'

type StepOf<Kind extends MergeStep['kind']> = Extract<MergeStep, { readonly kind: Kind }>

const PERMISSIONS = 0o7777
const NS_PER_S = 1e9

/**
 * Applies the steps: files are removed, what moves is moved out of the way, directories are removed and made and what moves gets its new
 * place, then files are made and changed.
 * @param branch the state of the branch that is merged.
 */
export async function applyMerge(
  files: Files,
  steps: readonly MergeStep[],
  branch: MomentView,
): Promise<void> {
  const of = <Kind extends MergeStep['kind']>(kind: Kind): StepOf<Kind>[] =>
    steps.filter((step): step is StepOf<Kind> => step.kind === kind)
  const removed = of('remove')
  for (const { path } of removed.filter(step => !step.isDirectory)) await files.unlink(bytesOf(path))
  const aside = await moveAside(files, of('move'), branch)
  for (const { path } of removed.filter(step => step.isDirectory))
    await files.rmdir(bytesOf(movedPath(path, aside) ?? path))
  const made = of('create')
  const places = [...of('move'), ...made.filter(step => step.isDirectory)]
  for (const step of places.sort((a, b) => depthOf(a.path) - depthOf(b.path)))
    if (step.kind === 'move')
      await files.rename(bytesOf(aside.get(step.from) ?? step.from), bytesOf(step.path))
    else await files.mkdir(bytesOf(step.path), { mode: 0o700 })
  for (const step of made) await create(files, step, branch)
  for (const { path, from } of of('link')) await files.link(bytesOf(from), bytesOf(path))
  for (const step of of('change')) await change(files, step, branch)
}

/** Resolves to the present path of each. */
async function moveAside(
  files: Files,
  moves: readonly StepOf<'move'>[],
  branch: MomentView,
): Promise<ReadonlyMap<string, string>> {
  const aside = new Map<string, string>()
  const deepestFirst = moves.toSorted((a, b) => depthOf(b.from) - depthOf(a.from))
  for (const [index, { from }] of deepestFirst.entries()) {
    const place = `.zblkfs-merge-${branch.at}-${index}`
    await files.rename(bytesOf(from), bytesOf(place))
    aside.set(from, place)
  }
  return aside
}

async function create(
  files: Files,
  { path, inode: oid }: StepOf<'create'>,
  branch: MomentView,
): Promise<void> {
  const inode = await existing(branch, oid)
  const at = bytesOf(path)
  const { mode, uid, gid, size } = inode
  if (isSymlink(inode)) {
    await files.symlink(Buffer.from(inode.target), at)
    await files.lchown(at, uid, gid)
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
  await setTime(files, at, inode)
}

async function change(
  files: Files,
  { path, inode: oid, ranges, attributes }: StepOf<'change'>,
  branch: MomentView,
): Promise<void> {
  const inode = await existing(branch, oid)
  const at = bytesOf(path)
  if (ranges.length > 0 || attributes.includes('size')) {
    const file = await files.open(at, 'r+')
    try {
      if (attributes.includes('size')) await file.truncate(inode.size)
      await copy(file, await FileContent.of(branch, inode), ranges, false)
    } finally {
      await file.close()
    }
  }
  const { uid, gid, mode } = inode
  if (attributes.includes('uid') || attributes.includes('gid')) {
    const present = await files.lstat(at)
    const wanted = (name: 'uid' | 'gid'): number =>
      attributes.includes(name) ? { uid, gid }[name] : present[name]
    await files.lchown(at, wanted('uid'), wanted('gid'))
  }
  if (attributes.includes('mode')) await files.chmod(at, mode & PERMISSIONS)
  if (attributes.includes('mtime')) await setTime(files, at, inode)
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

async function setTime(files: Files, path: Buffer, inode: Inode): Promise<void> {
  const seconds = (name: 'atime' | 'mtime'): number => Number(inode.time(name)) / NS_PER_S
  await files.utimes(path, seconds('atime'), seconds('mtime'))
}

async function existing(view: MomentView, oid: StepOf<'create'>['inode']): Promise<Inode> {
  const inode = await view.inode(oid)
  if (inode === undefined) throw view.connection.corrupt(oid, 'a name leads to a missing object')
  return inode
}

const bytesOf = (path: string): Buffer => Buffer.from(`/${path}`, 'latin1')
