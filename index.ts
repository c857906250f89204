/**
 * The SDK: a database in a program's own process, without a mount.
 *
 *     import { open } from 'zblkfs'
 *
 *     const db = await open('photos.zblk', { create: true })
 *     await db.files.writeFile('/a.txt', 'hello')
 *     await db.sync('the first file')
 *     await db.close()
 */
import { Database } from './core/database/database.ts'
import type { FileSystemOptions } from './core/file-system/file-system.ts'
import { processOwner } from './core/process-owner.ts'
import { openHere, openServed } from './mount/daemon/open-database.ts'
import { servingMount } from './mount/daemon/serving-mount.ts'
import type { CompressionName } from './store/compression.ts'
import { rememberingSource } from './store/database-key.ts'
import type { EncryptionName, Secret } from './store/encryption.ts'

export { Database, type RestoreChange, type RestoreOptions } from './core/database/database.ts'
export type {
  Change,
  FileChange,
  Range,
  Transaction,
  TransactionHead,
  Writer,
} from './core/database/changes.ts'
export type { LogOptions, TagInfo, TransactionChanges } from './core/database/history.ts'
export type { WatchOptions } from './core/database/feed.ts'
export { File, type ReadStreamOptions } from './core/database/file.ts'
export { FileError } from './core/database/file-error.ts'
export { Files, type Time } from './core/database/files.ts'
export type { OpenMode } from './core/database/open-flags.ts'
export { Dirent, Stats } from './core/database/stats.ts'
export type { Path } from './core/database/path.ts'
export type {
  BackedUp,
  BackupOptions,
  Received,
  ReceiveOptions,
  SendOptions,
} from './core/database/stream-options.ts'
export { receive } from './core/database/streams.ts'
export type { EncryptionName, Secret } from './store/encryption.ts'
export type { StreamSize } from './core/stream/send.ts'
export { CodedError, type ErrorCode, type ErrorKind } from './store/errors.ts'

const UMASK = 0o022

export interface OpenOptions {
  /** Creates the database if it does not exist. */
  readonly create?: boolean
  /** Opens it read-only at its last transaction, even while another process writes it. */
  readonly readOnly?: boolean
  /** Maximum memory for objects, in bytes. */
  readonly cacheSize?: number
  /** Maximum memory for changes that are not stored yet, in bytes. */
  readonly dirtySize?: number
  /** Time between a change and its transaction, in milliseconds. */
  readonly commitInterval?: number
  /** How new data is stored from now on: `zstd` and `lz4` compress it. Recorded in the database; by default as recorded there. */
  readonly compression?: CompressionName
  /** Encrypts the database if it is created; the key is then needed whenever it is opened. */
  readonly encryption?: EncryptionName
  /**
   * Returns the passphrase or key of an encrypted database. A key file has at least 32 random bytes. It is asked once, also for streams,
   * backups and branches made through the Database.
   */
  readonly key?: () => Promise<Secret>
  /** Permission bits cleared from the mode of new files and directories; by default 0o022. */
  readonly umask?: number
}

/**
 * Opens a database. If a mount has it open for writing, every operation goes through the mount's daemon: changes are visible in the
 * mount at once, and the mount's options for memory and commits apply.
 *
 * Changes are stored automatically after a few seconds; `Database.sync` and `Database.close` store them at once.
 * @throws CodedError: `no-database` if it does not exist, `locked` if another process writes it.
 */
export async function open(path: string, options: OpenOptions = {}): Promise<Database> {
  const { readOnly = false, umask = UMASK } = options
  const caller = { ...processOwner(), pid: process.pid }
  const mount = readOnly ? undefined : await servingMount(path)
  const key = options.key && rememberingSource(options.key)
  const parts =
    mount === undefined
      ? await openHere(path, { ...options, key, fileSystem: fileSystemOptions(options) })
      : await openServed(path, mount, 'at once', key)
  return new Database({ ...parts, caller, umask, key })
}

const fileSystemOptions = ({ cacheSize, dirtySize, commitInterval }: OpenOptions): FileSystemOptions => ({
  ...(cacheSize !== undefined && { cacheSizeBytes: cacheSize }),
  ...(dirtySize !== undefined && { dirtySizeBytes: dirtySize }),
  ...(commitInterval !== undefined && { commitIntervalMs: commitInterval }),
})
