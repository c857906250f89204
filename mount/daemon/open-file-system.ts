/** Opens what is mounted: a store by what its file holds, and the filesystem in it. */
import type { Logger } from 'pino'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import { recognise, type DatabaseKind } from '../../store/recognise.ts'
import { openRelStorage } from '../../store/relstorage/rel-storage.ts'
import { openSqliteStore } from '../../store/sqlite/open-sqlite-store.ts'
import type { Store } from '../../store/store.ts'
import { FileSystem } from '../file-system.ts'
import { ZodbFileSystem } from '../zodb/zodb-file-system.ts'
import type { MountSettings } from './mount-settings.ts'
import type { ServedFileSystem } from './served-file-system.ts'

export interface OpenedFileSystem {
  readonly fileSystem: ServedFileSystem
  /** The settings as they hold for this database: a ZODB database of somebody else's is only read. */
  readonly settings: MountSettings
}

/**
 * Opens the filesystem in `settings.database`; makes a database where there is none, unless the mount is read-only.
 * @throws CannotOpenError with cause and next step.
 */
export async function openFileSystem(settings: MountSettings, log: Logger): Promise<OpenedFileSystem> {
  const kind = await recognise(settings.database)
  const isForeign = kind === 'filestorage' || kind === 'relstorage'
  const store = await openStore(kind, settings, log)
  try {
    return isForeign
      ? {
          fileSystem: await ZodbFileSystem.open(store, { ...settings, log }),
          settings: { ...settings, readOnly: true },
        }
      : { fileSystem: await FileSystem.open(store, { ...settings, log }), settings }
  } catch (error) {
    await store.close()
    throw error
  }
}

async function openStore(
  kind: DatabaseKind,
  { database, directory, readOnly }: MountSettings,
  log: Logger,
): Promise<Store> {
  if (kind === 'filestorage') return await openFileStorage(database, { warn: message => log.warn(message) })
  if (kind === 'relstorage') return await openRelStorage(database)
  if (readOnly) return await openSqliteStore(database, { readOnly: true })
  return await openSqliteStore(database, { create: true, purpose: `mounted at ${directory}` })
}
