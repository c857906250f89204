/** Open directories and their entries. */
import { constants } from 'node:fs'
import { Directory } from '../../tree/directory.ts'
import { ErrnoError } from '../errno.ts'
import type { DirectoryEntry, Fh, Ino, Name } from '../operations.ts'
import { assertDirectory, typeOf } from './attributes.ts'
import type { Context } from '../context.ts'
import { COOKIE_PARENT, COOKIE_SELF, DirectoryListing } from './directory-cookies.ts'
import type { FileData } from './io.ts'
import type { Node } from '../inodes/node.ts'

/** Entries looked at in one go: their inodes are loaded together. */
const BATCH_MAX = 256

export class Directories {
  readonly #context: Context
  readonly #data: FileData

  constructor(context: Context, data: FileData) {
    this.#context = context
    this.#data = data
  }

  /** @throws ErrnoError ENOTDIR */
  open(ino: Ino): Promise<Fh> {
    return this.#context.look(ino, (node, inode) => {
      assertDirectory(inode)
      node.handles++
      return this.#context.handles.add({ kind: 'directory', node, listing: new DirectoryListing() })
    })
  }

  /** @throws ErrnoError EBADF */
  read(ino: Ino, fh: Fh, cookie: bigint, limit: number): Promise<readonly DirectoryEntry[]> {
    const handle = this.#context.handles.get(fh)
    if (handle.kind !== 'directory' || handle.node.ino !== ino) throw new ErrnoError('EBADF')
    return this.#context.read(ino, async (node, inode) => {
      if (cookie === 0n) this.#data.noteAccess(node, inode)
      const entries = this.#dots(node, cookie, limit)
      const rest = Math.min(limit - entries.length, BATCH_MAX)
      if (rest > 0 && inode.nlink > 0) entries.push(...(await this.#list(node, handle.listing, cookie, rest)))
      return entries
    })
  }

  #dots({ ino, inode, tree }: Node, cookie: bigint, limit: number): DirectoryEntry[] {
    const parent = inode.parent?.oid
    const dots = [
      { name: '.' as Name, ino, type: constants.S_IFDIR, cookie: COOKIE_SELF },
      {
        name: '..' as Name,
        ino: parent === undefined ? ino : tree.inoOf(parent),
        type: constants.S_IFDIR,
        cookie: COOKIE_PARENT,
      },
    ]
    return dots.filter(dot => dot.cookie > cookie).slice(0, limit)
  }

  async #list(
    { tree, inode }: Node,
    listing: DirectoryListing,
    cookie: bigint,
    limit: number,
  ): Promise<DirectoryEntry[]> {
    const found = await Directory.of(tree.connection, inode).after(listing.nameAt(cookie), limit)
    const inodes = found.map(({ oid }) => tree.inodeAt(oid))
    await tree.connection.loadMany(inodes.map(({ object }) => object))
    const entries: DirectoryEntry[] = []
    let after = cookie
    for (const [i, { name, oid }] of found.entries()) {
      const inode = inodes[i]
      if (inode === undefined) break
      await inode.activate()
      after = listing.cookieOf(name as Name, after)
      entries.push({ name: name as Name, ino: tree.inoOf(oid), type: typeOf(inode), cookie: after })
    }
    return entries
  }
}
