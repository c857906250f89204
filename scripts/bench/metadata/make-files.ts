/**
 * Makes databases of many small files without FUSE: by calling a driver's operations in this process, which is
 * several times as fast as through a mount and stores the same records.
 */
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { ROOT_INO, type Caller, type Ino, name as toName } from '../../../core/file-system/operations.ts'
import { formatTid } from '../../../store/ids.ts'
import { openDatabase } from '../../../store/open-store.ts'
import { interrupted } from '../programs.ts'

const CALLER: Caller = { uid: 0, gid: 0, pid: 1 }
const FILES_PER_DIRECTORY = 1000
const DIRECTORIES_PER_DIRECTORY = 100
const DIRECTORIES_PER_COMMIT = 10
/** The sequence of file lengths. */
const LENGTHS = [20, 100, 300, 700] as const
const BYTES = Buffer.alloc(1024, 'zblkfs bench metadata ')
const O_RDWR = 2

/** The directory of the `index`-th thousand of files, from the root. */
export const directoryOf = (index: number): readonly [string, string] => [
  `d${Math.floor(index / DIRECTORIES_PER_DIRECTORY)}`,
  `d${index % DIRECTORIES_PER_DIRECTORY}`,
]

/** Adds files to a database, which is created if it does not exist. `done`: number of files that it has already. */
export async function addFiles(database: string, done: number, files: number): Promise<void> {
  const fs = await FileSystem.open(await openDatabase(database, { create: true }), {
    commitIntervalMs: 2 ** 31 - 1,
  })
  try {
    const [from, to] = [done, files].map(count => Math.ceil(count / FILES_PER_DIRECTORY)) as [number, number]
    for (let index = from; index < to; index++) {
      interrupted.throwIfAborted()
      const count = Math.min(FILES_PER_DIRECTORY, files - index * FILES_PER_DIRECTORY)
      await fillDirectory(fs, directoryOf(index), count)
      if (index % DIRECTORIES_PER_COMMIT === 0) await fs.sync()
    }
  } finally {
    await fs.close()
  }
}

async function fillDirectory(
  fs: FileSystem,
  [outer, inner]: readonly [string, string],
  count: number,
): Promise<void> {
  const parent = await enter(fs, ROOT_INO, outer)
  const directory = await enter(fs, parent, inner)
  for (let i = 0; i < count; i++) await createFile(fs, directory, `file-${i}`, i)
  fs.forget(directory, 1)
  fs.forget(parent, 1)
}

async function createFile(fs: FileSystem, directory: Ino, name: string, index: number): Promise<void> {
  const { entry, file } = await fs.create(directory, toName(name), 0o100644, O_RDWR, CALLER)
  const { ino } = entry.attributes
  await fs.write(ino, file.fh, 0n, BYTES.subarray(0, LENGTHS[index % LENGTHS.length]))
  await fs.release(ino, file.fh)
  fs.forget(ino, 1)
}

/** The inode of a directory, which is made if it does not exist. */
async function enter(fs: FileSystem, parent: Ino, name: string): Promise<Ino> {
  try {
    return (await fs.lookup(parent, toName(name))).attributes.ino
  } catch {
    return (await fs.mkdir(parent, toName(name), 0o755, CALLER)).attributes.ino
  }
}

/** Changes the first `count` files in one transaction. */
export async function changeFiles(database: string, count: number): Promise<void> {
  const fs = await FileSystem.open(await openDatabase(database), { commitIntervalMs: 2 ** 31 - 1 })
  try {
    for (let index = 0; index < count; index++) {
      interrupted.throwIfAborted()
      const [outer, inner] = directoryOf(Math.floor(index / FILES_PER_DIRECTORY))
      const parent = await enter(fs, ROOT_INO, outer)
      const directory = await enter(fs, parent, inner)
      const found = await fs.lookup(directory, toName(`file-${index % FILES_PER_DIRECTORY}`))
      await changeFile(fs, found.attributes.ino)
      for (const ino of [parent, directory, found.attributes.ino]) fs.forget(ino, 1)
    }
    await fs.sync()
  } finally {
    await fs.close()
  }
}

async function changeFile(fs: FileSystem, ino: Ino): Promise<void> {
  const { fh } = await fs.open(ino, O_RDWR)
  await fs.write(ino, fh, 0n, Buffer.from(`changed at ${Date.now()}`))
  await fs.release(ino, fh)
}

/** The tid of a database's first transaction. */
export async function firstTransaction(database: string): Promise<string> {
  const store = await openDatabase(database, { readOnly: true })
  try {
    for await (const { tid } of store.transactions({ limit: 1 })) return formatTid(tid)
    throw new Error(`${database} has no transaction`)
  } finally {
    await store.close()
  }
}
