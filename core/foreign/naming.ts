/**
 * Reads an external ZODB database as a tree of names: which classes are directories and files, and the entries of a
 * directory. Objects of other classes are skipped: they are never loaded, and no code of theirs runs.
 *
 * | class                                        | is                                                           |
 * |----------------------------------------------|--------------------------------------------------------------|
 * | PersistentMapping, OOBTree                   | a directory; text keys name their entries in UTF-8, bytes as they are |
 * | LOBTree, IOBTree                             | a directory; keys are written in decimal                     |
 * | ZBigFile                                     | a file                                                       |
 * | ZBigArray                                    | a file: its `zfile`                                          |
 *
 * Names have one character per byte. Names that no directory can hold ('', '.', '..', with '/' or NUL, over 255 bytes) are
 * skipped.
 */
import { BTree } from '../btree/tree.ts'
import { IO, LO, OO } from '../btree/kind.ts'
import type { Connection } from '../objects/connection.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { ByteString, Ref, type PickleValue } from '../objects/pickle/value.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import type { Tid } from '../../store/ids.ts'
import { ZBIGARRAY } from './array.ts'

export type ForeignKind = 'directory' | 'file' | 'array'

export interface ForeignEntry {
  /** One character per byte. */
  readonly name: string
  readonly kind: ForeignKind
  readonly ref: Ref
}

/** Receives the reason why an entry is skipped. */
export type OnSkip = (reason: string) => void

const NAME_MAX_BYTES = 255

const KINDS: ReadonlyMap<string, ForeignKind> = new Map<string, ForeignKind>([
  [PersistentMapping.CLASS_NAME, 'directory'],
  [OO.tree, 'directory'],
  [LO.tree, 'directory'],
  [IO.tree, 'directory'],
  [ZBigFile.CLASS_NAME, 'file'],
  [ZBIGARRAY, 'array'],
])

/** The sorted entries of mappings, with the transaction that wrote them. */
const SORTED = new WeakMap<
  PersistentMapping,
  { readonly tid: Tid; readonly entries: readonly ForeignEntry[] }
>()

/** A directory of an external ZODB database, in one view. */
export class ForeignDirectory {
  readonly #object: PersistentMapping | BTree<PickleValue>
  readonly #onSkip: OnSkip

  private constructor(object: PersistentMapping | BTree<PickleValue>, onSkip: OnSkip) {
    this.#object = object
    this.#onSkip = onSkip
  }

  /** @throws CorruptRecordError if its class is not a directory. */
  static async open(connection: Connection, ref: Ref, onSkip: OnSkip): Promise<ForeignDirectory> {
    const object = connection.resolve(ref)
    if (!(object instanceof PersistentMapping || object instanceof BTree))
      throw object.corrupt(`a ${object.className} is not a directory`)
    await object.activate()
    return new ForeignDirectory(object as PersistentMapping | BTree<PickleValue>, onSkip)
  }

  /** The entry of a name; undefined if there is none. */
  async get(name: string): Promise<ForeignEntry | undefined> {
    const object = this.#object
    await object.activate()
    if (object instanceof PersistentMapping) {
      const text = textOf(name)
      return text === undefined ? undefined : this.#entry(name, object.get(text))
    }
    for (const key of keysOf(name, object)) {
      const value = await object.get(key)
      if (value !== undefined) return this.#entry(name, value)
    }
    return undefined
  }

  /** About `limit` entries after a name, or from the start if it is undefined; empty at the end. */
  async after(name: string | undefined, limit: number): Promise<readonly ForeignEntry[]> {
    const object = this.#object
    await object.activate()
    return object instanceof PersistentMapping
      ? this.#afterInMapping(object, name, limit)
      : await this.#afterInTree(object, name, limit)
  }

  #afterInMapping(
    mapping: PersistentMapping,
    after: string | undefined,
    limit: number,
  ): readonly ForeignEntry[] {
    const sorted = this.#sortedEntries(mapping)
    if (after === undefined) return sorted.slice(0, limit)
    let [lo, hi] = [0, sorted.length]
    while (lo < hi) {
      const middle = (lo + hi) >> 1
      if ((sorted[middle]?.name ?? '') <= after) lo = middle + 1
      else hi = middle
    }
    return sorted.slice(lo, lo + limit)
  }

  /** All entries of a mapping, sorted once for each of its states, not for each part of a listing. */
  #sortedEntries(mapping: PersistentMapping): readonly ForeignEntry[] {
    const known = SORTED.get(mapping)
    if (known?.tid === mapping.tid) return known.entries
    const entries: ForeignEntry[] = []
    for (const [key, value] of mapping.entries()) {
      const entry = this.#entry(nameOf(key), value)
      if (entry !== undefined) entries.push(entry)
    }
    entries.sort((a, b) => (a.name < b.name ? -1 : 1))
    SORTED.set(mapping, { tid: mapping.tid, entries })
    return entries
  }

  async #afterInTree(
    tree: BTree<PickleValue>,
    after: string | undefined,
    limit: number,
  ): Promise<ForeignEntry[]> {
    const found: ForeignEntry[] = []
    let lo = after === undefined ? undefined : await keyLike(tree, after)
    while (found.length < limit) {
      const { keys, values } = await tree.batch({ lo, after: lo !== undefined }, limit - found.length)
      if (keys.length === 0) break
      for (const [i, key] of keys.entries()) {
        const entry = this.#entry(nameOf(key), values[i])
        if (entry !== undefined) found.push(entry)
      }
      lo = keys.at(-1)
    }
    return found
  }

  #entry(name: string | undefined, value: PickleValue | undefined): ForeignEntry | undefined {
    if (name === undefined || !isName(name)) {
      if (value !== undefined) this.#skip(`${JSON.stringify(name)} cannot be a file's name`)
      return undefined
    }
    if (value === undefined) return undefined
    if (!(value instanceof Ref)) {
      this.#skip(`${name} is a plain value`)
      return undefined
    }
    const kind = KINDS.get(value.className)
    if (kind === undefined) {
      this.#skip(`${name} is a ${value.className || 'class without a name'}, which is unknown here`)
      return undefined
    }
    return { name, kind, ref: value }
  }

  #skip(reason: string): void {
    this.#onSkip(`${this.#object.className} ${this.#object.oid}: ${reason}`)
  }
}

const isName = (name: string): boolean =>
  name !== '' &&
  name !== '.' &&
  name !== '..' &&
  name.length <= NAME_MAX_BYTES &&
  !name.includes('/') &&
  !name.includes('\0')

/** The name of a key; undefined if there is no name that maps back to it. */
function nameOf(key: PickleValue): string | undefined {
  if (key instanceof ByteString) return key.latin1
  if (typeof key === 'number') return String(key)
  if (typeof key !== 'string') return undefined
  const name = Buffer.from(key, 'utf8').toString('latin1')
  return textOf(name) === key ? name : undefined
}

/** The text of a UTF-8 name; undefined if it is not UTF-8. */
function textOf(name: string): string | undefined {
  const bytes = Buffer.from(name, 'latin1')
  const text = bytes.toString('utf8')
  return Buffer.from(text, 'utf8').equals(bytes) ? text : undefined
}

/** The keys of a tree that map to this name. */
function keysOf(name: string, { kind }: BTree<PickleValue>): PickleValue[] {
  if (kind.tree !== OO.tree) return /^(0|-?[1-9]\d{0,15})$/.test(name) ? [Number(name)] : []
  const text = textOf(name)
  return text === undefined ? [new ByteString(name)] : [text, new ByteString(name)]
}

/** A name as a key of the same type as the tree's keys. */
async function keyLike(tree: BTree<PickleValue>, name: string): Promise<PickleValue | undefined> {
  const first = await tree.minKey()
  if (typeof first === 'string') return textOf(name)
  if (typeof first === 'number') return Number(name)
  return new ByteString(name)
}
