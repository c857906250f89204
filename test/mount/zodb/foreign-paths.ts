/** A foreign database as a filesystem, used by paths. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { FileSystem } from '../../../core/file-system/file-system.ts'
import {
  ZodbFileSystem,
  type ZodbFileSystemOptions,
} from '../../../core/foreign/file-system/zodb-file-system.ts'
import { openFileStorage } from '../../../store/filestorage/file-storage.ts'
import type { Store } from '../../../store/store.ts'
import { Paths } from '../../tools/paths.ts'

/** A directory that is removed when the test is over. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-test-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export interface ForeignPaths extends Paths {
  readonly zodb: ZodbFileSystem
}

/** Opens the filesystem of a store; closed at the test's end. */
export async function foreignPaths(store: Store, options: ZodbFileSystemOptions = {}): Promise<ForeignPaths> {
  const zodb = await ZodbFileSystem.open(store, options)
  onTestFinished(() => zodb.close())
  // Paths only uses what both filesystems have.
  return Object.assign(new Paths(zodb as unknown as FileSystem), { zodb })
}

/** The filesystem of a FileStorage. */
export async function fileStoragePaths(
  path: string,
  options: ZodbFileSystemOptions = {},
): Promise<ForeignPaths> {
  return foreignPaths(await openFileStorage(path, { cacheDirectory: temporaryDirectory() }), options)
}
