/** Opening and closing. A handle keeps its inode, named or not. */
import { constants } from 'node:fs'
import { ErrnoError } from '../errno.ts'
import type { Caller, Entry, Fh, Ino, Name, OpenFile } from '../operations.ts'
import { isDirectory, setTimes } from './attributes.ts'
import { SMALL_CHANGE_BYTES, type Context } from '../context.ts'
import { dropPrivileges, type FileData } from './io.ts'
import type { Names } from './create.ts'
import type { Node } from '../inodes/node.ts'

const { O_WRONLY, O_RDWR, O_TRUNC, O_EXCL } = constants

export class Files {
  readonly #context: Context
  readonly #data: FileData
  readonly #names: Names

  constructor(context: Context, data: FileData, names: Names) {
    this.#context = context
    this.#data = data
    this.#names = names
  }

  /** @throws ErrnoError EISDIR, EROFS */
  async open(ino: Ino, flags: number): Promise<OpenFile> {
    const isWriting = (flags & (O_WRONLY | O_RDWR)) !== 0
    if (isWriting && flags & O_TRUNC) await this.#empty(ino)
    return await this.#context.look(ino, (node, inode) => {
      if (isDirectory(inode)) throw new ErrnoError('EISDIR')
      if (isWriting) this.#context.assertWritable(node)
      return this.#opened(node)
    })
  }

  /** Makes a file and opens it; with O_EXCL only if it was not there. @throws as Names.createFile and open. */
  async create(
    parent: Ino,
    name: Name,
    mode: number,
    flags: number,
    caller: Caller,
  ): Promise<{ readonly entry: Entry; readonly file: OpenFile }> {
    const entry = await this.#names.createFile(parent, name, mode, caller, (flags & O_EXCL) === 0)
    try {
      return { entry, file: await this.open(entry.attributes.ino, flags) }
    } catch (error) {
      this.#names.forget(entry.attributes.ino, 1)
      throw error
    }
  }

  /** Closes a file's or a directory's handle. @throws ErrnoError EBADF */
  release(fh: Fh): void {
    const handle = this.#context.handles.remove(fh)
    if (handle.kind === 'made up') return
    handle.node.handles--
    this.#context.settle(handle.node)
  }

  #opened(node: Node): OpenFile {
    node.handles++
    // Whatever changes a file passes this kernel, so the pages that it has are right.
    return { fh: this.#context.handles.add({ kind: 'file', node }), keepCache: true, directIo: false }
  }

  #empty(ino: Ino): Promise<void> {
    return this.#context.change(ino, SMALL_CHANGE_BYTES, async (node, inode) => {
      await this.#data.resize(node, 0n)
      await inode.activate()
      dropPrivileges(inode)
      setTimes(inode, this.#context.nowNs(), 'mtime', 'ctime')
      this.#context.changed(node)
    })
  }
}
