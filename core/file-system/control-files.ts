/**
 * `/.zblkfs/`: generated files with the state of the mount. The root does not list it; content is generated at each open.
 *
 * | file     | content                                                       |
 * |----------|---------------------------------------------------------------|
 * | `at`     | the last transaction's tid, 16 hex digits                     |
 * | `stats`  | JSON: operations, bytes, commits, memory                      |
 * | `config` | JSON: how the filesystem was opened                           |
 * | `accesslog` | a line for each request from now on (access-log.ts)        |
 */
import { constants } from 'node:fs'
import { AccessLog } from './access-log.ts'
import { ErrnoError } from './errno.ts'
import {
  DOT,
  ROOT_INO,
  type Attributes,
  type DirectoryEntry,
  type Entry,
  type Fh,
  type Ino,
  type ListedEntry,
  type Name,
  type OpenFile,
  ino as toIno,
  name as toName,
} from './operations.ts'
import { COOKIE_PARENT, dotEntries } from './operations/directory-cookies.ts'
import type { Handles } from './inodes/handles.ts'
import { INO_SPAN, TREE_NUMBERS, treeNumberOf } from './inodes/tree.ts'
import { NO_BYTES } from '../../store/bytes.ts'

const { S_IFDIR, S_IFREG, O_WRONLY, O_RDWR } = constants
const CONTROL_TREE = TREE_NUMBERS - 1
const DIRECTORY_INO = toIno(CONTROL_TREE * INO_SPAN + 1)
const BLKSIZE = 4096
/** Padding for growth between stat and read. */
const ROOM_BYTES = 64
const PADDED_TO_BYTES = 512

export const isControlIno = (ino: Ino): boolean => treeNumberOf(ino) === CONTROL_TREE

/** Generates the content of a file. */
export type ContentMaker = () => string | Promise<string>

/**
 * JSON of a changing value, padded with spaces: a driver that cannot bypass the page cache reads as many bytes as stat
 * returned before.
 */
export function paddedJson(value: unknown): string {
  const text = JSON.stringify(value, undefined, 2)
  const length = Math.ceil((text.length + ROOM_BYTES) / PADDED_TO_BYTES) * PADDED_TO_BYTES
  return `${text.padEnd(length - 1)}\n`
}

/** A file: its content is generated at each open, or it is the access log. */
interface ControlFile {
  readonly name: Name
  readonly ino: Ino
  readonly content: ContentMaker | AccessLog
}

export class ControlFiles {
  readonly #files: readonly ControlFile[]
  readonly #handles: Handles<unknown>
  readonly #owner: { readonly uid: number; readonly gid: number }
  readonly #timeNs: bigint

  constructor(
    files: Readonly<Record<string, ContentMaker | AccessLog>>,
    handles: Handles<unknown>,
    owner: { readonly uid: number; readonly gid: number },
    timeNs: bigint,
  ) {
    this.#files = Object.entries(files).map(([name, content], i) => ({
      name: toName(name),
      ino: toIno(DIRECTORY_INO + 1 + i),
      content,
    }))
    this.#handles = handles
    this.#owner = owner
    this.#timeNs = timeNs
  }

  /** The directory itself. */
  directory(): Promise<Entry> {
    return this.#entry(DIRECTORY_INO)
  }

  /** @throws ErrnoError ENOENT, ENOTDIR */
  async lookup(parent: Ino, name: Name): Promise<Entry> {
    if (parent !== DIRECTORY_INO) throw new ErrnoError('ENOTDIR')
    const ino = name === DOT ? parent : this.#files.find(file => file.name === name)?.ino
    if (ino === undefined) throw new ErrnoError('ENOENT')
    return await this.#entry(ino)
  }

  /** @throws ErrnoError ENOENT */
  async attributes(ino: Ino): Promise<Attributes> {
    const isDirectory = ino === DIRECTORY_INO
    const content = isDirectory ? NO_BYTES : await this.#content(ino)
    const isLog = content instanceof AccessLog
    return {
      ...this.#owner,
      ino,
      // The access log shows what every user does.
      mode: isDirectory ? S_IFDIR | 0o555 : S_IFREG | (isLog ? 0o400 : 0o444),
      nlink: isDirectory ? 2 : 1,
      rdev: 0,
      size: BigInt(isLog ? 0 : content.length),
      blocks: 0,
      blksize: BLKSIZE,
      atimeNs: this.#timeNs,
      mtimeNs: this.#timeNs,
      ctimeNs: this.#timeNs,
      birthtimeNs: this.#timeNs,
      validity: isDirectory ? 'forever' : 'briefly',
    }
  }

  /** @throws ErrnoError ENOENT, EISDIR, EACCES for writing */
  async open(ino: Ino, flags: number): Promise<OpenFile> {
    if (ino === DIRECTORY_INO) throw new ErrnoError('EISDIR')
    if (flags & (O_WRONLY | O_RDWR)) throw new ErrnoError('EACCES')
    const content = await this.#content(ino)
    const handle =
      content instanceof AccessLog
        ? { kind: 'stream' as const, stream: content.open() }
        : { kind: 'generated' as const, content }
    return { fh: this.#handles.add(handle), pages: 'bypass' }
  }

  /** @throws ErrnoError EBADF */
  async read(fh: Fh, off: bigint, len: number): Promise<readonly Uint8Array[]> {
    const handle = this.#handles.get(fh)
    if (handle.kind === 'stream') return [await handle.stream.read(len)]
    if (handle.kind !== 'generated') throw new ErrnoError('EBADF')
    const from = Number(off)
    return from < handle.content.length ? [handle.content.subarray(from, from + len)] : []
  }

  /** @throws ErrnoError ENOTDIR */
  opendir(ino: Ino): Fh {
    if (ino !== DIRECTORY_INO) throw new ErrnoError('ENOTDIR')
    return this.#handles.add({ kind: 'generated', content: NO_BYTES })
  }

  readdir(cookie: bigint, limit: number): readonly DirectoryEntry[] {
    const entries = dotEntries(DIRECTORY_INO, ROOT_INO)
    for (const [i, { name, ino }] of this.#files.entries())
      entries.push({ name, ino, type: S_IFREG, cookie: COOKIE_PARENT + 1n + BigInt(i) })
    return entries.filter(entry => entry.cookie > cookie).slice(0, limit)
  }

  async readdirplus(
    cookie: bigint,
    limit: number,
    fits: (entry: DirectoryEntry) => boolean,
  ): Promise<readonly ListedEntry[]> {
    const listed: ListedEntry[] = []
    for (const entry of this.readdir(cookie, limit)) {
      if (!fits(entry)) break
      listed.push({ entry, found: entry.cookie > COOKIE_PARENT ? await this.#entry(entry.ino) : undefined })
    }
    return listed
  }

  async #content(ino: Ino): Promise<Uint8Array | AccessLog> {
    const file = this.#files.find(file => file.ino === ino)
    if (file === undefined) throw new ErrnoError('ENOENT')
    const { content } = file
    return content instanceof AccessLog ? content : Buffer.from(await content(), 'utf8')
  }

  async #entry(ino: Ino): Promise<Entry> {
    return { attributes: await this.attributes(ino), generation: 0, nameValidity: 'forever' }
  }
}
