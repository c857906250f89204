/** Entries of directories, as a merge looks at them. */
import type { Oid } from '../../store/ids.ts'
import type { MomentView } from '../history/moment-view.ts'
import { Directory } from '../tree/directory.ts'
import type { Inode } from '../tree/inode.ts'

/** A place that an entry gets. */
export interface NewPlace {
  readonly parent: Oid
  readonly name: string
}

/** Names read together. */
const BATCH = 256

/** The directory and the name of a path; undefined if there is none, as of a shortened path. */
export async function placeAt(view: MomentView, path: string): Promise<NewPlace | undefined> {
  const parts = path.split('/')
  const name = parts.pop()
  const parent = await view.find(parts.join('/'))
  return parent === undefined || name === undefined || name === '' ? undefined : { parent: parent.oid, name }
}

/** The names in a directory. */
export async function* namesIn({ connection }: MomentView, directory: Inode): AsyncGenerator<string> {
  for (let after: string | undefined; ;) {
    await directory.activate()
    const entries = await Directory.of(connection, directory).after(after, BATCH)
    if (entries.length === 0) return
    for (const { name } of entries) yield (after = name)
  }
}

export const joined = (directory: string, name: string): string =>
  directory === '' ? name : `${directory}/${name}`
