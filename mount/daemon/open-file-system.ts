/** Opens what is mounted: a store by what its file holds, and the filesystem in it. */
import type { Logger } from 'pino'
import { CannotOpenError } from '../../store/errors.ts'
import { recognise } from '../../store/recognise.ts'
import { openSqliteStore } from '../../store/sqlite/open-sqlite-store.ts'
import type { Store } from '../../store/store.ts'
import { FileSystem } from '../file-system.ts'
import type { MountSettings } from './mount-settings.ts'

/**
 * Opens the filesystem in `settings.database`; makes a database where there is none, unless the mount is read-only.
 * @throws CannotOpenError with cause and next step.
 */
export async function openFileSystem(settings: MountSettings, log: Logger): Promise<FileSystem> {
  const store = await openStore(settings)
  try {
    return await FileSystem.open(store, { ...settings, log })
  } catch (error) {
    await store.close()
    throw error
  }
}

async function openStore({ database, directory, readOnly }: MountSettings): Promise<Store> {
  const kind = await recognise(database)
  if (kind === 'filestorage' || kind === 'relstorage')
    throw new CannotOpenError(
      `${database} is a ${kind === 'filestorage' ? 'ZODB FileStorage' : 'RelStorage database'}: ` +
        "only zblkfs's own databases can be mounted",
    )
  if (readOnly) return await openSqliteStore(database, { readOnly: true })
  return await openSqliteStore(database, { create: true, purpose: `mounted at ${directory}` })
}
