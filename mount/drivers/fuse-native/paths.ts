/**
 * Resolves libfuse's paths to inodes and names.
 *
 * There is no table of inodes: a path is looked up component by component and used, then all references from the
 * lookups are taken back. libfuse locks the paths of an operation while it runs, so they do not change during the walk.
 *
 * A path arrives as text, decoded from UTF-8; names go to the filesystem as bytes. A name that is not UTF-8 was
 * decoded to another one, so it is refused instead of naming the wrong file.
 */
import { ErrnoError } from '../../../core/file-system/errno.ts'
import {
  type Caller,
  type Ino,
  type Name,
  type Operations,
  ROOT_INO,
  name as toName,
} from '../../../core/file-system/operations.ts'

const NAME_MAX_BYTES = 255
const REPLACEMENT = '�'

/** The bytes of a component of a path. @throws ErrnoError EILSEQ, ENAMETOOLONG. */
export function nameOf(component: string): Name {
  if (component.includes(REPLACEMENT)) throw new ErrnoError('EILSEQ')
  const bytes = Buffer.from(component, 'utf8')
  if (bytes.length > NAME_MAX_BYTES) throw new ErrnoError('ENAMETOOLONG')
  return toName(bytes.toString('latin1'))
}

/** A name's text; bytes that are not UTF-8 become U+FFFD. */
export const textOf = (name: Name): string => Buffer.from(name, 'latin1').toString('utf8')

/** Splits a path into its parent's path and its last component. */
export function splitPath(path: string): { readonly parent: string; readonly last: string } {
  const slash = path.lastIndexOf('/')
  return { parent: path.slice(0, slash), last: path.slice(slash + 1) }
}

/** Looks paths up in one filesystem for one caller. */
export class PathWalker {
  readonly #operations: Operations
  readonly #caller: Caller

  constructor(operations: Operations, caller: Caller) {
    this.#operations = operations
    this.#caller = caller
  }

  /** Calls `use` with the inode of a path, which stays referenced until its promise settles. */
  async withInode<T>(path: string, use: (ino: Ino) => Promise<T>): Promise<T> {
    let ino = ROOT_INO
    try {
      for (const component of path.split('/')) {
        if (component === '') continue
        const entry = await this.#operations.lookup(ino, nameOf(component), this.#caller)
        this.#forget(ino)
        ino = entry.attributes.ino
      }
      return await use(ino)
    } finally {
      this.#forget(ino)
    }
  }

  /** Calls `use` with the inode of a path's parent and the path's last name. */
  async withParent<T>(path: string, use: (parent: Ino, name: Name) => Promise<T>): Promise<T> {
    const { parent, last } = splitPath(path)
    const name = nameOf(last)
    return await this.withInode(parent, ino => use(ino, name))
  }

  #forget(ino: Ino): void {
    if (ino !== ROOT_INO) this.#operations.forget(ino, 1)
  }
}
