/**
 * From a path to an inode, through the operations of a filesystem: what the kernel does for a mount.
 *
 * Paths begin at the root of the tree, with or without a leading slash, and never lead out of it: `..` at the root is
 * the root, and an absolute symbolic link begins there again.
 */
import { typeOf } from '../tree/inode.ts'
import { constants } from 'node:fs'
import { ErrnoError } from '../file-system/errno.ts'
import {
  name as toName,
  ROOT_INO,
  type Attributes,
  type Caller,
  type Ino,
  type Name,
  type Operations,
} from '../file-system/operations.ts'
import { bytesOf, type Path } from './path.ts'

const { S_IFDIR, S_IFLNK } = constants
/** The limit of Linux (MAXSYMLINKS). */
const LINKS_MAX = 40
/** Far beyond the kernel's 4096, as a deep tree has longer paths. */
const PATH_MAX_BYTES = 1 << 20

/**
 * Whether a symbolic link at the end of a path is followed: always, only if a slash follows its name, or never. Links
 * before the end always are.
 */
export type Following = 'always' | 'before a slash' | 'never'

/** A resolved path. */
export interface Found {
  /** Its last name and the directory that has it; absent if the path is the root or ends with `.` or `..`. */
  readonly place: { readonly parent: Ino; readonly name: Name } | undefined
  /** Absent if the name does not exist. */
  readonly attributes: Attributes | undefined
  /** How the path ends, if not with a name: '' after a slash, `.` or `..`. Then it may only lead to a directory. */
  readonly ending: '' | '.' | '..' | undefined
}

/** The names of a path, one character per byte. @throws ErrnoError ENOENT for '', EINVAL for NUL, ENAMETOOLONG */
function namesOf(path: Path): string[] {
  const bytes = bytesOf(path)
  if (bytes.length === 0) throw new ErrnoError('ENOENT')
  if (bytes.length >= PATH_MAX_BYTES) throw new ErrnoError('ENAMETOOLONG')
  if (bytes.includes(0)) throw new ErrnoError('EINVAL')
  return bytes.toString('latin1').split('/')
}

/** One path resolution. The inodes that it looked up stay referenced until {@link Walk.end}. */
export class Walk {
  readonly #operations: Operations
  readonly #caller: Caller
  readonly #base: readonly Name[]
  readonly #held: Ino[] = []

  /** @param base the names that lead to the directory where paths begin. */
  constructor(operations: Operations, caller: Caller, base: readonly Name[]) {
    this.#operations = operations
    this.#caller = caller
    this.#base = base
  }

  /**
   * @throws ErrnoError ENOENT, ENOTDIR if a name before the last is not a directory; ELOOP, ENAMETOOLONG
   */
  async find(path: Path, following: Following): Promise<Found> {
    const names = namesOf(path)
    const ends = names.at(-1)
    const ending = ends === '' || ends === '.' || ends === '..' ? ends : undefined
    const followsEnd = following === 'always' || (following === 'before a slash' && ending !== undefined)
    const ahead = names.toReversed()
    let ancestors = [await this.#root()]
    let links = 0
    let place: Found['place']
    for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
      if (name === '') continue
      const directory = ancestors.at(-1)
      if (directory === undefined || !isType(directory, S_IFDIR)) throw new ErrnoError('ENOTDIR')
      if (name === '.') continue
      if (name === '..') {
        if (ancestors.length > 1) ancestors.pop()
        place = undefined
        continue
      }
      const isLast = ahead.every(rest => rest === '' || rest === '.')
      place = { parent: directory.ino, name: toName(name) }
      const attributes = await this.#lookup(place.parent, place.name, isLast)
      if (attributes === undefined) return { place, attributes, ending }
      if (isType(attributes, S_IFLNK) && (!isLast || followsEnd)) {
        if (++links > LINKS_MAX) throw new ErrnoError('ELOOP')
        const target = await this.#operations.readlink(attributes.ino)
        const parts = namesOf(target)
        if (parts[0] === '') ancestors = ancestors.slice(0, 1)
        ahead.push(...parts.toReversed())
        place = undefined
      } else ancestors.push(attributes)
    }
    return { place, attributes: ancestors.at(-1), ending }
  }

  /** Drops the references to all inodes that it looked up. */
  end(): void {
    for (const ino of this.#held.splice(0)) this.#operations.forget(ino, 1)
  }

  async #root(): Promise<Attributes> {
    let attributes = await this.#operations.getattr(ROOT_INO)
    for (const name of this.#base) {
      const found = await this.#lookup(attributes.ino, name, false)
      if (found === undefined) throw new ErrnoError('ENOENT')
      attributes = found
    }
    return attributes
  }

  /** Undefined if the name does not exist and `mayBeMissing` is set. */
  async #lookup(parent: Ino, name: Name, mayBeMissing: boolean): Promise<Attributes | undefined> {
    try {
      const { attributes } = await this.#operations.lookup(parent, name, this.#caller)
      this.#held.push(attributes.ino)
      return attributes
    } catch (error) {
      if (mayBeMissing && error instanceof ErrnoError && error.code === 'ENOENT') return undefined
      throw error
    }
  }
}

export const isType = (attributes: Attributes, type: number): boolean => typeOf(attributes) === type
