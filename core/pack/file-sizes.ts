import { isRegular } from '../tree/inode.ts'
import type { Oid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { MomentView } from '../history/moment-view.ts'

export interface FileSize {
  /** The inode's oid. */
  readonly oid: Oid
  /** From the root, with a leading slash, one character per byte; shortened if it is long (core/tree/shown-path.ts). */
  readonly path: string
  /** The length shown to programs. */
  readonly sizeBytes: bigint
  /** The number of bytes stored for it now. */
  readonly storedBytes: number
}

/** The files of the present state, directory by directory. A file with several names is listed several times. */
export async function* fileSizes(store: Store): AsyncGenerator<FileSize> {
  const view = await MomentView.open(store, await store.lastTid())
  for await (const { path, inode } of view.walk())
    if (isRegular(inode))
      yield { oid: inode.oid, path: `/${path.text}`, sizeBytes: inode.size, storedBytes: inode.stored }
}
