/**
 * The representation of a pickle's values.
 *
 * | Python              | JavaScript                                                                |
 * |---------------------|---------------------------------------------------------------------------|
 * | None, True, False   | null, true, false                                                         |
 * | int                 | number if it is a safe integer, otherwise bigint                          |
 * | float               | Float, so that 1.0 is distinct from 1                                     |
 * | str                 | string                                                                    |
 * | bytes, Python 2 str | ByteString up to 64 KiB, else a Uint8Array, a view of the record          |
 * | tuple, list, dict   | Tuple, array, Map                                                         |
 * | persistent object   | Ref                                                                       |
 * | class               | Global                                                                    |
 * | anything else       | Opaque: the call that Python would make, which is never made              |
 */
import type { Oid } from '../../../store/ids.ts'

/** A reference to another object of the database. */
export class Ref {
  readonly oid: Oid
  /** `module.name`; '' if the record does not say. */
  readonly className: string
  constructor(oid: Oid, className: string) {
    this.oid = oid
    this.className = className
  }
}

/** A class (or function) named in a pickle. */
export class Global {
  readonly module: string
  readonly name: string
  /** `module.name`. */
  readonly className: string
  constructor(module: string, name: string) {
    this.module = module
    this.name = name
    this.className = `${module}.${name}`
  }

  /** Whether a text is the `module.name` of a class. */
  static isName(className: string): boolean {
    const dot = className.lastIndexOf('.')
    return dot > 0 && dot < className.length - 1 && !className.includes('\n')
  }

  /** The class of a `module.name`. @throws TypeError if the text is not one. */
  static of(className: string): Global {
    if (!Global.isName(className)) throw new TypeError(`'${className}' is not the name of a class`)
    const dot = className.lastIndexOf('.')
    return new Global(className.slice(0, dot), className.slice(dot + 1))
  }
}

/** A Python tuple, as distinct from a list. */
export class Tuple {
  readonly items: readonly PickleValue[]
  constructor(items: readonly PickleValue[]) {
    this.items = items
  }
}

/** A float. */
export class Float {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/**
 * A byte string. As a dictionary's key it always comes from {@link ByteString.key}, one object per content, so
 * that a Map finds it; elsewhere compare `latin1`, which has the same order as the bytes.
 */
export class ByteString {
  /** One character per byte. */
  readonly latin1: string
  constructor(latin1: string) {
    this.latin1 = latin1
  }

  static readonly #keys = new Map<string, WeakRef<ByteString>>()
  static readonly #collected = new FinalizationRegistry<string>(latin1 => {
    if (ByteString.#keys.get(latin1)?.deref() === undefined) ByteString.#keys.delete(latin1)
  })

  /** The unique object for these bytes, for keys of Maps. */
  static key(latin1: string): ByteString {
    const known = ByteString.#keys.get(latin1)?.deref()
    if (known !== undefined) return known
    const made = new ByteString(latin1)
    ByteString.#keys.set(latin1, new WeakRef(made))
    ByteString.#collected.register(made, latin1)
    return made
  }

  static from(bytes: Uint8Array): ByteString {
    return new ByteString(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1'))
  }

  get bytes(): Uint8Array {
    return Buffer.from(this.latin1, 'latin1')
  }
}

/**
 * An object that Python would create by a call. The call is recorded and never made.
 * A weak reference, or one to another database, is an Opaque without a `callable`, `args` its persistent id.
 */
export class Opaque {
  readonly callable: PickleValue
  readonly args: PickleValue
  /** The argument of `__setstate__`. */
  state: PickleValue = null
  /** Values to be appended, or set by key. */
  readonly items: PickleValue[] = []
  readonly entries: [PickleValue, PickleValue][] = []
  constructor(callable: PickleValue, args: PickleValue) {
    this.callable = callable
    this.args = args
  }
}

export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | ByteString
  | Float
  | Tuple
  | PickleValue[]
  | Map<PickleValue, PickleValue>
  | Ref
  | Global
  | Opaque

/** The value of a dictionary's key that is text (Python 3) or bytes (Python 2). */
export function entry(
  dictionary: ReadonlyMap<PickleValue, PickleValue>,
  name: string,
): PickleValue | undefined {
  return dictionary.has(name) ? dictionary.get(name) : dictionary.get(ByteString.key(name))
}
