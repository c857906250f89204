/**
 * A small mapping kept in one record: the root, the superblock, inodes.
 * State: `{'data': {...}}`. Source: persistent.mapping.PersistentMapping. The numbers of an inode are one entry of the state
 * (packed-attributes.ts), and an entry each in memory.
 */
import { PACKED, packed, unpackInto } from './packed-attributes.ts'
import { Persistent } from './persistent.ts'
import { assertWritable } from './pickle/check-value.ts'
import { ByteString, entry, type PickleValue } from './pickle/value.ts'

/** Keys are text. Byte-string keys, as Python 2 wrote them, are read as latin1 and written back as text. */
export class PersistentMapping extends Persistent {
  static readonly CLASS_NAME = 'persistent.mapping.PersistentMapping'
  #data: Map<string, PickleValue> | undefined

  get size(): number {
    return this.#entries().size
  }

  has(key: string): boolean {
    return this.#entries().has(key)
  }

  /** The value of a key; undefined if there is none. The value must not be changed in place. */
  get(key: string): PickleValue | undefined {
    return this.#entries().get(key)
  }

  entries(): IterableIterator<[string, PickleValue]> {
    return this.#entries().entries()
  }

  /** @throws TypeError for a value that cannot be serialised. */
  set(key: string, value: PickleValue): void {
    assertWritable(value)
    this.changing()
    this.#entries().set(key, value)
  }

  /** Removes a key. Returns whether it existed. */
  delete(key: string): boolean {
    if (!this.#entries().has(key)) return false
    this.changing()
    return this.#entries().delete(key)
  }

  override get sizeBytes(): number {
    if (this.#data === undefined) return 0
    let bytes = 200
    for (const [key, value] of this.#data) bytes += 2 * key.length + weigh(value)
    return bytes
  }

  protected override decode(state: PickleValue): void {
    const data = state instanceof Map ? entry(state, 'data') : undefined
    if (!(data instanceof Map)) throw this.corrupt("a mapping's state is not {'data': {...}}")
    const entries = new Map<string, PickleValue>()
    for (const [key, value] of data) {
      const text = key instanceof ByteString ? key.latin1 : key
      if (typeof text !== 'string') throw this.corrupt('a key of a mapping is not text')
      if (text !== PACKED) entries.set(text, value)
      else if (!unpackInto(value, entries)) throw this.corrupt("an inode's packed attributes are malformed")
    }
    this.#data = entries
  }

  protected override encode(): PickleValue {
    return new Map<PickleValue, PickleValue>([['data', packed(this.#entries())]])
  }

  protected override clear(): void {
    this.#data = undefined
  }

  protected override initialize(): void {
    this.#data = new Map()
  }

  #entries(): Map<string, PickleValue> {
    if (this.#data === undefined) throw this.ghostError()
    return this.#data
  }
}

/** Approximate memory of a value, in bytes. */
function weigh(value: PickleValue): number {
  if (value instanceof Uint8Array) return 100 + value.length
  if (typeof value === 'string') return 30 + 2 * value.length
  if (value instanceof ByteString) return 60 + value.latin1.length
  if (value instanceof Map) {
    let bytes = 100
    for (const [key, entry] of value) bytes += weigh(key) + weigh(entry)
    return bytes
  }
  return 60
}
