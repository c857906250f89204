/**
 * Finds what a filesystem has not stored, as paths: for a mount that cannot store it any more, so that it can be copied elsewhere.
 *
 * A change of data, attributes or entries always changes the inode as well. So the unstored inodes are the files and directories to save,
 * and the entries of unstored directories, compared with the last transaction, are the names that were removed.
 */
import { type ObjectChanges } from '../history/changed-objects.ts'
import { inodeAt, InodeComparison } from '../history/inode-difference.ts'
import { MomentView } from '../history/moment-view.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import type { Oid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import type { Context } from './context.ts'
import type { UnstoredPath } from './served-file-system.ts'

/** Everything that is not stored, in the order of paths. No change may run meanwhile. @throws StoreError */
export async function unstoredPaths(store: Store, { live }: Context): Promise<readonly UnstoredPath[]> {
  const { connection } = live
  const changed = new Set<Oid>()
  const mappings = new Set<Oid>()
  for (const { oid, className } of connection.unstored()) {
    changed.add(oid)
    if (className === PersistentMapping.CLASS_NAME) mappings.add(oid)
  }
  if (mappings.size === 0) return []
  const changes: ObjectChanges = {
    among: oids => Promise.resolve(new Set(oids.filter(oid => changed.has(oid)))),
    close: () => undefined,
  }
  const before = await MomentView.open(store, connection.committedAt)
  const now = await MomentView.of(connection)
  const comparison = new InodeComparison(before, now, changes)
  const removed = new Map<Oid, string[]>()
  const added = new Map<Oid, string[]>()
  const note = async (
    names: Map<Oid, string[]>,
    oid: Oid,
    view: MomentView,
    directory: Oid,
    name: string,
  ) => {
    const path = (await view.pathOf(directory))?.child(name).text
    if (path !== undefined) names.set(oid, [...(names.get(oid) ?? []), path])
  }
  for (const directory of mappings)
    for await (const { name, before: was, after: is } of comparison.names(directory)) {
      if (is === undefined && was !== undefined) await note(removed, was, before, directory, name)
      if (is !== undefined && is !== was) await note(added, is, now, directory, name)
    }
  const paths: UnstoredPath[] = []
  for (const oid of mappings) {
    if ((await inodeAt(now, oid)) === undefined) continue
    // A new name of a file that has others too may not be the one by which it is found.
    const found = (await now.pathOf(oid))?.text
    const names = new Set([...(added.get(oid) ?? []), ...(found === undefined ? [] : [found])])
    for (const path of names) {
      const from = removed.get(oid)?.shift()
      paths.push(from === undefined ? { kind: 'changed', path } : { kind: 'renamed', path, from })
    }
  }
  for (const names of removed.values()) for (const path of names) paths.push({ kind: 'removed', path })
  return paths.toSorted((a, b) => (a.path < b.path ? -1 : 1))
}
