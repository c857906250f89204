/** Opens a database for a program or a command: in this process, or through the daemon of its mount. */
import type { DatabaseParts } from '../../core/database/database.ts'
import { FileSystem, type FileSystemOptions } from '../../core/file-system/file-system.ts'
import type { CompressionName } from '../../store/compression.ts'
import type { EncryptionName, KeySource } from '../../store/encryption.ts'
import { TID_NONE } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { MountedDirectory } from '../mount-points/mount-table.ts'
import { connectFileSystem } from './remote-file-system.ts'

export type OpenedDatabase = Pick<DatabaseParts, 'fileSystem' | 'store' | 'close'>

export interface OpenHereOptions {
  readonly create?: boolean
  readonly readOnly?: boolean
  /** What the database is open for, shown to other processes that find it locked. */
  readonly purpose?: string
  readonly compression?: CompressionName
  readonly encryption?: EncryptionName
  readonly key?: KeySource | undefined
  readonly fileSystem?: FileSystemOptions
}

/** Opens a database in this process. @throws CannotOpenError, LockedError, StoreError */
export async function openHere(path: string, options: OpenHereOptions = {}): Promise<OpenedDatabase> {
  const { create = false, readOnly = false, purpose = 'opened by a program' } = options
  const { compression, encryption, key } = options
  const store = readOnly
    ? await openDatabase(path, { readOnly: true, key })
    : await openDatabase(path, { create, purpose, compression, encryption, key })
  const fileSystem = await FileSystem.open(store, options.fileSystem).catch(async (error: unknown) => {
    await store.close()
    throw error
  })
  // A new filesystem is a transaction: the present is a moment like any other.
  if (fileSystem.history !== undefined && (await store.lastTid()) === TID_NONE) await fileSystem.sync()
  return { fileSystem, store, close: () => fileSystem.close() }
}

/**
 * Uses a database through the daemon of its mount; its history is read directly from the store.
 * @param connects 'at once': also checks that the mount's driver takes the operations of other programs.
 * @throws NoAnswerError; CodedError if the daemon refuses.
 */
export async function openServed(
  path: string,
  mount: MountedDirectory,
  connects: 'at once' | 'when needed' = 'at once',
  key?: KeySource,
): Promise<OpenedDatabase> {
  const fileSystem = await connectFileSystem(mount, connects)
  try {
    const store = await openDatabase(path, { readOnly: true, key })
    const close = async (): Promise<void> => {
      await fileSystem.sync()
      await fileSystem.close()
      await store.close()
    }
    return { fileSystem, store, close }
  } catch (error) {
    await fileSystem.close()
    throw error
  }
}
