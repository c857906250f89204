/**
 * A file that took the name of a removed one has replaced it: many programs save files this way. Such a removal and addition are shown as a
 * change of the file at that path. Undo and merge need both, as the two are different inodes.
 */
import { isRegular, type Inode } from '../tree/inode.ts'
import type { Oid } from '../../store/ids.ts'
import { contentDifference, inodeAt, type Difference } from './inode-difference.ts'
import type { MomentView } from './moment-view.ts'

/** Every object of a new file is new. */
const ALL = { among: (oids: readonly Oid[]): Promise<ReadonlySet<Oid>> => Promise.resolve(new Set(oids)) }

/** The differences between two moments, with one change for a file that was replaced. */
export async function* withReplacements(
  differences: AsyncIterable<Difference>,
  before: MomentView,
  after: MomentView,
): AsyncGenerator<Difference> {
  for await (const difference of differences) {
    const { kind, path } = difference
    const isName = (kind === 'removed' || kind === 'added') && isRegular(difference)
    const files = isName ? await replacedAt(path, before, after) : undefined
    if (files === undefined) yield difference
    // The differences have its removal and its addition.
    else if (kind === 'removed') {
      const [was, is] = [
        { view: before, inode: files.was },
        { view: after, inode: files.is },
      ]
      const change = await contentDifference(was, is, { kind: 'changed', path }, ALL)
      if (change.attributes.length > 0 || change.ranges.length > 0) yield change
    }
  }
}

/** The files at a path, if the first one has no name afterwards and the second one had none before. */
async function replacedAt(
  path: string,
  before: MomentView,
  after: MomentView,
): Promise<{ readonly was: Inode; readonly is: Inode } | undefined> {
  const [was, is] = [await before.find(path), await after.find(path)]
  if (was === undefined || is === undefined || was.oid === is.oid) return undefined
  const hasOthers = (await hasName(after, was.oid)) || (await hasName(before, is.oid))
  return hasOthers || !isRegular(was) || !isRegular(is) ? undefined : { was, is }
}

const hasName = async (view: MomentView, oid: Oid): Promise<boolean> =>
  ((await inodeAt(view, oid))?.nlink ?? 0) > 0
