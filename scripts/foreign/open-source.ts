/** Opens a database to be read from, of whichever kind it is. */
import { CannotOpenError } from '../../store/errors.ts'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import { recognise } from '../../store/recognise.ts'
import { openRelStorage } from '../../store/relstorage/rel-storage.ts'
import type { Store } from '../../store/store.ts'

/** Opens a FileStorage or a RelStorage database. @throws CannotOpenError where it is neither. */
export async function openZodb(path: string): Promise<Store> {
  const kind = await recognise(path)
  if (kind === 'filestorage')
    return await openFileStorage(path, { warn: message => console.error(`zblkfs: ${message}`) })
  if (kind === 'relstorage') return await openRelStorage(path)
  throw new CannotOpenError(
    kind === 'none'
      ? `${path} does not exist or is empty: name a ZODB database (Data.fs, or RelStorage's main.sqlite3)`
      : `${path} is a database of zblkfs's own: mount it, or copy its file`,
  )
}
