/** Databases in a directory of their own, which a test removes when it is over. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { FileSystem, type FileSystemOptions } from '../../core/file-system/file-system.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { TestStore } from './test-store.ts'
import { Paths } from './paths.ts'

/** The path of a database that does not exist yet. */
export function temporaryDatabase(): string {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-test-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return join(directory, 'test.zblkfs')
}

/** Opens the filesystem of a database, made if it is not there; closed at the test's end if the test has not. */
export async function openPaths(path: string, options: FileSystemOptions = {}): Promise<Paths> {
  const store = await openSqliteStore(path, { create: true })
  const fs = await FileSystem.open(store, options)
  onTestFinished(() => fs.close().catch(() => undefined))
  return new Paths(fs)
}

/** The filesystem of a new database in memory, which has no past to look at. */
export async function memoryPaths(
  options: FileSystemOptions = {},
): Promise<Paths & { readonly store: TestStore }> {
  const store = new TestStore()
  const fs = await FileSystem.open(store, options)
  onTestFinished(() => fs.close().catch(() => undefined))
  return Object.assign(new Paths(fs), { store })
}
