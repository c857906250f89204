/** A filesystem in plain objects: what random operations on a real one are compared with. */
import { createHash } from 'node:crypto'
import { ASIDE, type Step } from './file-system-steps.ts'

class ModelFile {
  bytes: Buffer = Buffer.alloc(0)
  links = 1

  resize(size: number): void {
    this.bytes = size <= this.bytes.length ? this.bytes.subarray(0, size) : Buffer.concat([this.bytes], size)
  }

  write(off: number, data: Uint8Array): void {
    if (data.length === 0) return
    if (off + data.length > this.bytes.length) this.resize(off + data.length)
    this.bytes = Buffer.from(this.bytes)
    this.bytes.set(data, off)
  }
}

type ModelDirectory = Map<string, ModelNode>
type ModelNode = ModelFile | ModelDirectory

/** Where copies go to. */
const COPY_OFFSET = 1 << 23

class Failure extends Error {}

export class Model {
  readonly #root: ModelDirectory = new Map()

  static digest(bytes: Uint8Array): string {
    return createHash('sha256').update(bytes).digest('hex').slice(0, 16)
  }

  /** Does a step; the code that it fails with, or 'nothing'. */
  perform(step: Step): string {
    try {
      this.#perform(step)
      return 'nothing'
    } catch (error) {
      if (error instanceof Failure) return error.message
      throw error
    }
  }

  /** Every path with what is there. */
  listing(directory = this.#root, top = ''): Record<string, string> {
    const found: Record<string, string> = {}
    for (const [name, node] of directory) {
      if (node instanceof ModelFile) found[top + name] = `file ${node.links} ${Model.digest(node.bytes)}`
      else {
        const subdirectories = [...node.values()].filter(child => child instanceof Map).length
        found[top + name] = `directory ${2 + subdirectories}`
        Object.assign(found, this.listing(node, `${top}${name}/`))
      }
    }
    return found
  }

  #perform(step: Step): void {
    switch (step.do) {
      case 'mkdir': {
        const { parent, name } = this.#parent(step.path)
        if (parent.has(name)) throw new Failure('EEXIST')
        parent.set(name, new Map())
        return
      }
      case 'write': {
        const { parent, name } = this.#parent(step.path)
        const file = parent.get(name) ?? new ModelFile()
        if (!(file instanceof ModelFile)) throw new Failure('EISDIR')
        parent.set(name, file)
        file.write(step.off, Buffer.alloc(step.length, step.fill))
        return
      }
      case 'truncate':
        this.#file(step.path).resize(step.off)
        return
      case 'punch': {
        const file = this.#file(step.path)
        const end = Math.min(file.bytes.length, step.off + step.length + 1)
        if (end > step.off) file.write(step.off, Buffer.alloc(end - step.off))
        return
      }
      case 'unlink': {
        const { parent, name, node } = this.#existing(step.path)
        if (!(node instanceof ModelFile)) throw new Failure('EISDIR')
        parent.delete(name)
        node.links--
        return
      }
      case 'rmdir': {
        const { parent, name, node } = this.#existing(step.path)
        if (node instanceof ModelFile) throw new Failure('ENOTDIR')
        if (node.size > 0) throw new Failure('ENOTEMPTY')
        parent.delete(name)
        return
      }
      case 'link': {
        const { node } = this.#existing(step.path)
        const { parent, name } = this.#parent(step.to)
        if (!(node instanceof ModelFile)) throw new Failure('EPERM')
        if (parent.has(name)) throw new Failure('EEXIST')
        parent.set(name, node)
        node.links++
        return
      }
      case 'rename':
      case 'exchange':
      case 'aside':
        return this.#rename(step.path, step.to, step.do)
      case 'copy': {
        const from = this.#file(step.path)
        const to = this.#file(step.to)
        const overlaps = step.off < COPY_OFFSET + step.length && COPY_OFFSET < step.off + step.length
        if (from === to && overlaps) throw new Failure('EINVAL')
        to.write(COPY_OFFSET, from.bytes.subarray(step.off, step.off + step.length))
        return
      }
      case 'sync':
      case 'reopen':
    }
  }

  #rename(from: string, to: string, kind: 'rename' | 'exchange' | 'aside'): void {
    const isExchange = kind === 'exchange'
    const source = this.#parent(from)
    const target = this.#parent(to)
    const node = source.parent.get(source.name)
    const replaced = target.parent.get(target.name)
    if (node === undefined || (isExchange && replaced === undefined)) throw new Failure('ENOENT')
    if (node === replaced) return
    if (isWithin(node, target.parent)) throw new Failure('EINVAL')
    if (isExchange && replaced !== undefined) {
      if (isWithin(replaced, source.parent)) throw new Failure('EINVAL')
      target.parent.set(target.name, node)
      source.parent.set(source.name, replaced)
      return
    }
    if (kind === 'aside' && replaced !== undefined) {
      if (target.parent.has(ASIDE)) throw new Failure('EEXIST')
      target.parent.set(ASIDE, replaced)
      source.parent.delete(source.name)
      target.parent.set(target.name, node)
      return
    }
    if (replaced instanceof ModelFile && !(node instanceof ModelFile)) throw new Failure('ENOTDIR')
    if (replaced instanceof Map && node instanceof ModelFile) throw new Failure('EISDIR')
    if (replaced instanceof Map && replaced.size > 0) throw new Failure('ENOTEMPTY')
    if (replaced instanceof ModelFile) replaced.links--
    source.parent.delete(source.name)
    target.parent.set(target.name, node)
  }

  #parent(path: string): { parent: ModelDirectory; name: string } {
    const names = path.split('/')
    const name = names.pop() ?? ''
    let parent: ModelNode | undefined = this.#root
    for (const name of names) {
      if (!(parent instanceof Map)) throw new Failure('ENOTDIR')
      parent = parent.get(name)
      if (parent === undefined) throw new Failure('ENOENT')
    }
    if (!(parent instanceof Map)) throw new Failure('ENOTDIR')
    return { parent, name }
  }

  #existing(path: string): { parent: ModelDirectory; name: string; node: ModelNode } {
    const { parent, name } = this.#parent(path)
    const node = parent.get(name)
    if (node === undefined) throw new Failure('ENOENT')
    return { parent, name, node }
  }

  #file(path: string): ModelFile {
    const { node } = this.#existing(path)
    if (!(node instanceof ModelFile)) throw new Failure('EISDIR')
    return node
  }
}

/** Whether a directory is `node` or somewhere below it. */
function isWithin(node: ModelNode, directory: ModelDirectory): boolean {
  if (node === directory) return true
  return node instanceof Map && [...node.values()].some(child => isWithin(child, directory))
}
