/**
 * An in-memory model of a tree of files under a sequence of operations, with a hash of the whole that every
 * operation updates, so that a tree can be compared with all earlier states.
 */
import { createHash } from 'node:crypto'

/** Content is generated from a seed, so that an operation is a few words. */
export type Operation =
  | { readonly kind: 'create'; readonly path: string; readonly mode: number }
  | {
      readonly kind: 'write'
      readonly path: string
      readonly off: number
      readonly len: number
      readonly seed: number
    }
  | { readonly kind: 'truncate'; readonly path: string; readonly size: number }
  | { readonly kind: 'chmod'; readonly path: string; readonly mode: number }
  | { readonly kind: 'mkdir'; readonly path: string }
  | { readonly kind: 'rmdir' | 'unlink'; readonly path: string }
  | { readonly kind: 'symlink'; readonly path: string; readonly target: string }
  | { readonly kind: 'link' | 'rename'; readonly path: string; readonly to: string }
  /** Changes nothing; makes all earlier operations durable when it returns. */
  | { readonly kind: 'sync'; readonly path: string }

/** The entry at a path. */
export interface Described {
  readonly type: 'file' | 'directory' | 'link'
  readonly mode: number
  readonly links: number
  readonly content: Uint8Array
}

interface File {
  type: Described['type']
  mode: number
  links: number
  content: Buffer
  digest: string
}

/** The bytes of a write with a seed. */
export function contentOf(seed: number, len: number): Buffer {
  const bytes = Buffer.allocUnsafe(len)
  let state = seed >>> 0 || 1
  for (let at = 0; at < len; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state
  }
  return bytes
}

/** The hash of one path. The hash of a tree is the exclusive or of the hashes of its paths. */
export function hashOf(path: string, { type, mode, links, content }: Described): bigint {
  return hashDigest(path, { type, mode, links, digest: digestOf(content) })
}

const digestOf = (content: Uint8Array): string => createHash('sha1').update(content).digest('hex')

function hashDigest(
  path: string,
  { type, mode, links, digest }: Omit<Described, 'content'> & { readonly digest: string },
): bigint {
  // A directory's own size and times are not compared: its entries suffice.
  const what = type === 'directory' ? [path, type] : [path, type, type === 'link' ? 0 : mode, links, digest]
  return createHash('sha1').update(what.join('\0')).digest().readBigUInt64LE()
}

export class TreeModel {
  readonly #files = new Map<string, File>()
  #hash = 0n

  get hash(): bigint {
    return this.#hash
  }

  /** The hash of each path; their exclusive or is {@link TreeModel.hash}. */
  hashes(): ReadonlyMap<string, bigint> {
    return new Map([...this.#files].map(([path, file]) => [path, hashDigest(path, file)]))
  }

  paths(type: Described['type']): string[] {
    return [...this.#files].filter(([, file]) => file.type === type).map(([path]) => path)
  }

  has(path: string): boolean {
    return this.#files.has(path)
  }

  sizeOf(path: string): number {
    return this.#files.get(path)?.content.length ?? 0
  }

  isEmpty(path: string): boolean {
    return !this.#below(path).some(below => below !== path)
  }

  isSame(a: string, b: string): boolean {
    return this.#files.get(a) === this.#files.get(b)
  }

  clone(): TreeModel {
    const made = new TreeModel()
    const copies = new Map<File, File>()
    for (const [path, file] of this.#files) {
      const copy = copies.get(file) ?? { ...file }
      copies.set(file, copy)
      made.#files.set(path, copy)
    }
    made.#hash = this.#hash
    return made
  }

  apply(operation: Operation): void {
    const { kind, path } = operation
    if (kind === 'create') this.#enter(path, make('file', operation.mode))
    else if (kind === 'mkdir') this.#enter(path, make('directory', 0))
    else if (kind === 'symlink') this.#enter(path, make('link', 0, Buffer.from(operation.target)))
    else if (kind === 'write') this.#write(path, operation.off, contentOf(operation.seed, operation.len))
    else if (kind === 'truncate') this.#resize(path, operation.size)
    else if (kind === 'chmod') this.#change(path, file => void (file.mode = operation.mode))
    else if (kind === 'unlink' || kind === 'rmdir') this.#remove(path)
    else if (kind === 'link') this.#enter(operation.to, this.#at(path))
    else if (kind === 'rename') this.#rename(path, operation.to)
  }

  #at(path: string): File {
    const file = this.#files.get(path)
    if (file === undefined) throw new Error(`the model has no ${path}`)
    return file
  }

  #below(path: string): string[] {
    return [...this.#files.keys()].filter(name => name === path || name.startsWith(`${path}/`))
  }

  /** Changes a file, and the hash for every name that it has. */
  #change(path: string, change: (file: File) => void): void {
    const file = this.#at(path)
    const names = [...this.#files].filter(([, other]) => other === file).map(([name]) => name)
    for (const name of names) this.#toggle(name, file)
    change(file)
    for (const name of names) this.#toggle(name, file)
  }

  #toggle(path: string, file: File): void {
    this.#hash ^= hashDigest(path, file)
  }

  #enter(path: string, file: File): void {
    for (const [name, other] of this.#files) if (other === file) this.#toggle(name, file)
    file.links++
    this.#files.set(path, file)
    for (const [name, other] of this.#files) if (other === file) this.#toggle(name, file)
  }

  #remove(path: string): void {
    const file = this.#at(path)
    for (const [name, other] of this.#files) if (other === file) this.#toggle(name, file)
    file.links--
    this.#files.delete(path)
    for (const [name, other] of this.#files) if (other === file) this.#toggle(name, file)
  }

  #rename(from: string, to: string): void {
    // Two names of one file: rename(2) is a no-op.
    if (this.#files.get(to) === this.#at(from)) return
    if (this.#files.has(to)) this.#remove(to)
    for (const path of this.#below(from)) {
      const file = this.#at(path)
      this.#toggle(path, file)
      this.#files.delete(path)
      const moved = to + path.slice(from.length)
      this.#files.set(moved, file)
      this.#toggle(moved, file)
    }
  }

  #write(path: string, off: number, data: Buffer): void {
    this.#change(path, file => {
      const content = Buffer.alloc(Math.max(file.content.length, off + data.length))
      file.content.copy(content)
      data.copy(content, off)
      file.content = content
      file.digest = digestOf(content)
    })
  }

  #resize(path: string, size: number): void {
    this.#change(path, file => {
      const content = Buffer.alloc(size)
      file.content.copy(content)
      file.content = content
      file.digest = digestOf(content)
    })
  }
}

const make = (type: Described['type'], mode: number, content: Buffer = Buffer.alloc(0)): File => ({
  type,
  mode,
  links: 0,
  content,
  digest: digestOf(content),
})
