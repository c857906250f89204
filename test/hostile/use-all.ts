/**
 * Uses everything in a filesystem as the requests of a mount do: lists, reads, seeks and changes. Every answer is data that a
 * driver can send, or an error that the store or the filesystem makes on purpose.
 */
import { ErrnoError } from '../../core/file-system/errno.ts'
import { FileSystem } from '../../core/file-system/file-system.ts'
import {
  ROOT_INO,
  type Entry,
  type Ino,
  type Operations,
  name as toName,
} from '../../core/file-system/operations.ts'
import { ENTRY_OUT_BYTES, writeEntry } from '../../mount/drivers/kernel/abi/attributes.ts'
import { StoreError } from '../../store/errors.ts'
import { openDatabase } from '../../store/open-store.ts'
import { ROOT_CALLER } from '../tools/paths.ts'

const ENTRIES_MAX = 200

export interface Used {
  /** Paths that were listed. */
  readonly lists: readonly string[]
  /** The errors on purpose, by their names. */
  readonly refused: readonly string[]
  /** Errors that no operation may have, with their stacks. */
  readonly unexpected: readonly string[]
}

/** Opens a database for writing and uses what is in it. */
export async function useAll(path: string): Promise<Used> {
  const lists: string[] = []
  const refused: string[] = []
  const unexpected: string[] = []
  const attempt = async <T>(what: string, act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act()
    } catch (error) {
      if (error instanceof ErrnoError) refused.push(`${what}: ${error.code}`)
      else if (error instanceof StoreError) refused.push(`${what}: ${error.name}`)
      else unexpected.push(`${what}: ${error instanceof Error ? error.stack : String(error)}`)
      return undefined
    }
  }
  const store = await attempt('open', () => openDatabase(path))
  if (store === undefined) return { lists, refused, unexpected }
  const fs = await attempt('assemble', () => FileSystem.open(store))
  if (fs === undefined) {
    await store.close()
    return { lists, refused, unexpected }
  }
  await new User(fs, attempt, lists).directory(ROOT_INO, '/', 0)
  await attempt('sync', () => fs.sync())
  await attempt('close', () => fs.close())
  // A store that is closed already says so.
  await store.close().catch(() => undefined)
  return { lists, refused, unexpected }
}

type Attempt = <T>(what: string, act: () => Promise<T>) => Promise<T | undefined>

class User {
  readonly #fs: Operations
  readonly #attempt: Attempt
  readonly #lists: string[]
  readonly #reply = new DataView(new ArrayBuffer(ENTRY_OUT_BYTES))

  constructor(fs: Operations, attempt: Attempt, lists: string[]) {
    this.#fs = fs
    this.#attempt = attempt
    this.#lists = lists
  }

  async directory(ino: Ino, path: string, depth: number): Promise<void> {
    const fs = this.#fs
    const names = await this.#attempt(`list ${path}`, async () => {
      const fh = await fs.opendir(ino, 0, ROOT_CALLER)
      try {
        return (await fs.readdir(ino, fh, 0n, ENTRIES_MAX)).map(({ name }) => name)
      } finally {
        await fs.releasedir(ino, fh)
      }
    })
    if (names === undefined) return
    this.#lists.push(path)
    for (const name of names) {
      if (name === '.' || name === '..') continue
      const below = `${path === '/' ? '' : path}/${name.slice(0, 40)}`
      const entry = await this.#attempt(
        `lookup ${below}`,
        async () => await fs.lookup(ino, name, ROOT_CALLER),
      )
      if (entry !== undefined) await this.#entry(entry, below, depth)
    }
    const made = toName(`new ${depth}`)
    await this.#attempt(`create in ${path}`, async () => {
      await fs.mknod(ino, made, 0o100644, 0, ROOT_CALLER)
      await fs.unlink(ino, made, ROOT_CALLER)
    })
  }

  async #entry(entry: Entry, path: string, depth: number): Promise<void> {
    const fs = this.#fs
    const { ino, mode } = entry.attributes
    // What the kernel driver sends of it.
    await this.#attempt(`reply ${path}`, async () => {
      writeEntry(this.#reply, 0, entry)
      await fs.getattr(ino)
    })
    await this.#attempt(`attributes ${path}`, async () => {
      for (const name of await fs.listxattr(ino, () => true)) await fs.getxattr(ino, name)
    })
    const type = mode & 0o170000
    if (type === 0o040000 && depth < 4) await this.directory(ino, path, depth + 1)
    else if (type === 0o120000) await this.#attempt(`readlink ${path}`, () => fs.readlink(ino))
    else if (type === 0o100000) await this.#file(ino, path)
    await this.#attempt(`chmod ${path}`, () => fs.setattr(ino, { mode: 0o600 }, ROOT_CALLER))
    await this.#attempt(`setxattr ${path}`, () =>
      fs.setxattr(ino, 'user.x', Buffer.from('x'), 0, ROOT_CALLER),
    )
    fs.forget(ino, 1)
  }

  async #file(ino: Ino, path: string): Promise<void> {
    const fs = this.#fs
    const file = await this.#attempt(`open ${path}`, () => fs.open(ino, 2, ROOT_CALLER))
    if (file === undefined) return
    const { fh } = file
    const offs = [0n, 4096n, (2n << 20n) - 1n, 1n << 39n, (1n << 62n) - 7n]
    for (const off of offs) {
      await this.#attempt(`read ${path} ${off}`, async () => await fs.read(ino, fh, off, 65_536))
      for (const whence of ['data', 'hole'] as const)
        await this.#attempt(`seek ${path} ${off}`, () => fs.seek(ino, fh, off, whence))
    }
    await this.#attempt(`write ${path}`, async () => await fs.write(ino, fh, 100n, Buffer.from('written')))
    await this.#attempt(`punch ${path}`, () =>
      fs.allocate(ino, fh, { keepSize: true, punchHole: true, zeroRange: false }, 4096n, 1n << 40n),
    )
    await this.#attempt(`fsync ${path}`, () => fs.fsync(ino, fh, false))
    await this.#attempt(`truncate ${path}`, () => fs.setattr(ino, { size: 10n, fh }, ROOT_CALLER))
    await this.#attempt(`close ${path}`, async () => await fs.release(ino, fh))
  }
}
