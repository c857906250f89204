/** A listing of names alone: the types of entries, of whatever state their inodes are in, without loading these. */
import { constants } from 'node:fs'
import { expect, test } from 'vitest'
import { ROOT_INO } from '../../../core/file-system/operations.ts'
import type { Paths } from '../../tools/paths.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

const { S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK } = constants
const OPTIONS = { commitIntervalMs: 1e9 }
const TYPES = { directory: S_IFDIR, fifo: S_IFIFO, file: S_IFREG, link: S_IFLNK, socket: S_IFSOCK }
const FILES = 500

async function typesOf({ fs }: Paths): Promise<Record<string, number>> {
  const fh = await fs.opendir(ROOT_INO)
  const types: Record<string, number> = {}
  for (let cookie = 0n; ;) {
    const entries = await fs.readdir(ROOT_INO, fh, cookie, 100)
    if (entries.length === 0) break
    for (const { name, type } of entries) if (!name.startsWith('.')) types[name] = type
    cookie = entries.at(-1)?.cookie ?? cookie
  }
  await fs.releasedir(ROOT_INO, fh)
  return types
}

test('every type is listed: of stored inodes, changed ones, and new ones', async () => {
  const path = temporaryDatabase()
  const made = await openPaths(path, OPTIONS)
  await made.mkdir('directory')
  await made.mknod('fifo', S_IFIFO | 0o600)
  await made.write('file', 'a small file')
  await made.symlink('file', 'link')
  await made.mknod('socket', S_IFSOCK | 0o600)
  expect(await typesOf(made)).toEqual(TYPES)
  await made.fs.close()

  const paths = await openPaths(path, OPTIONS)
  expect(await typesOf(paths)).toEqual(TYPES)
  await paths.write('file', 'a changed file')
  await paths.write('new', 'not stored yet')
  expect(await typesOf(paths)).toEqual({ ...TYPES, new: S_IFREG })
  await paths.fs.close()
})

test('the inodes of a listing of names are not loaded', async () => {
  const path = temporaryDatabase()
  const made = await openPaths(path, OPTIONS)
  for (let index = 0; index < FILES; index++) await made.write(`file-${index}`, `${index}`)
  await made.fs.close()

  const paths = await openPaths(path, OPTIONS)
  const { cacheMisses } = paths.fs.stats()
  expect(Object.values(await typesOf(paths))).toEqual(Array(FILES).fill(S_IFREG))
  expect(paths.fs.stats().cacheMisses - cacheMisses).toBeLessThan(FILES / 4)
  await paths.fs.close()
})
