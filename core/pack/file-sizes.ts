import { isRegular } from '../tree/inode.ts'
import { type DamageError, isDamageError } from '../../store/errors.ts'
import type { Oid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { MomentView } from '../history/moment-view.ts'
import { ROOT_PATH, type ShownPath } from '../tree/shown-path.ts'

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

/**
 * The files of the present state, directory by directory. A file with several names is listed several times.
 * @param onDamage receives the path of what cannot be read, in the form of {@link FileSize.path}; the other files follow.
 * @throws DamageError without `onDamage`.
 */
export async function* fileSizes(
  store: Store,
  onDamage?: (path: string, error: DamageError) => void,
): AsyncGenerator<FileSize> {
  const view = await MomentView.open(store, await store.lastTid())
  const report = onDamage && ((path: ShownPath, error: DamageError) => onDamage(`/${path.text}`, error))
  for await (const { path, inode } of view.walk(view.rootOid, ROOT_PATH, report)) {
    try {
      if (!isRegular(inode)) continue
      const { oid, size: sizeBytes, stored: storedBytes } = inode
      yield { oid, path: `/${path.text}`, sizeBytes, storedBytes }
    } catch (error) {
      if (report === undefined || !isDamageError(error)) throw error
      report(path, error)
    }
  }
}
