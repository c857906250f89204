/** Shared by the operations of an external ZODB database. */
import type { Logger } from 'pino'
import type { Connection } from '../../objects/connection.ts'
import type { Ref } from '../../objects/pickle/value.ts'
import type { Store } from '../../../store/store.ts'
import { ErrnoError } from '../../file-system/errno.ts'
import type { Handles } from '../../file-system/inodes/handles.ts'
import { openForeignFile, type ForeignFile } from '../file.ts'
import { ForeignDirectory } from '../naming.ts'
import type { Layout } from './layouts.ts'
import type { Node, Nodes } from './nodes.ts'
import type { PastViews, View } from './view.ts'

export interface Context {
  readonly store: Store
  readonly past: PastViews
  readonly nodes: Nodes
  readonly handles: Handles<Node>
  readonly owner: { readonly uid: number; readonly gid: number }
  readonly log: Logger
  readonly layout: Layout
}

/** Runs `work` with the file of an inode, in the inode's view. @throws ErrnoError EISDIR */
export async function withFile<T>(
  { target, view }: Node,
  work: (file: ForeignFile, view: View) => Promise<T>,
): Promise<T> {
  if (target.kind !== 'file') throw new ErrnoError('EISDIR')
  return await view.use(async connection => work(await openForeignFile(connection, target.file), view))
}

/** Opens a directory; skipped names are logged. */
export function openDirectory({ log }: Context, connection: Connection, ref: Ref): Promise<ForeignDirectory> {
  return ForeignDirectory.open(connection, ref, reason => log.debug(reason))
}
