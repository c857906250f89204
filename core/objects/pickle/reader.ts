/**
 * Reads pickles of protocols 1 to 3 without executing anything.
 *
 * A pickle is a program for a machine with a stack and a memo; this is the machine. Where Python's would call
 * something, this one creates an Opaque. Several consecutive pickles may share the memo, as the two of a ZODB
 * record do.
 *
 * Input is not trusted. Every step consumes input, every length is checked before anything of that length is
 * allocated, and the number of values per record is bounded (`VALUES_MAX`); so time and memory are bounded by the
 * input's length. checkDepth checks the structure of the result. Every fault is a PickleError.
 */
import { oid, type Oid } from '../../../store/ids.ts'
import { PickleError, PickleInput } from './input.ts'
import * as op from './opcodes.ts'
import { ByteString, Float, Global, Opaque, Ref, Tuple, type PickleValue } from './value.ts'

/** Maximum number of values per record; a list, dictionary or object counts as `CONTAINER_COST`. */
const VALUES_MAX = 1 << 20
const CONTAINER_COST = 16
/** Longer byte strings are views of the input. */
const BYTE_STRING_MAX = 65_536

/** The machine; {@link PickleReader.load} runs it once per pickle. */
export class PickleReader {
  /** Called with every strong persistent reference, in the order of the input. */
  onRef: (ref: Ref) => void = () => {}
  /** Maps the name of a class to its current one. */
  rename: (className: string) => string = className => className
  readonly #input: PickleInput
  readonly #memo: PickleValue[] = []
  readonly #stack: PickleValue[] = []
  readonly #marks: number[] = []
  #budget = VALUES_MAX

  constructor(bytes: Uint8Array) {
    this.#input = new PickleInput(bytes)
  }

  /** The position of the next pickle. */
  get position(): number {
    return this.#input.position
  }

  /** Runs one pickle up to its STOP and returns the result. @throws PickleError */
  // oxlint-disable-next-line max-lines-per-function -- one switch over the opcodes
  load(): PickleValue {
    const input = this.#input
    const stack = this.#stack
    stack.length = 0
    this.#marks.length = 0
    for (;;) {
      const opcode = input.next()
      switch (opcode) {
        case op.STOP: {
          const value = this.#pop()
          if (stack.length !== 0 || this.#marks.length !== 0) throw new PickleError('values are left over')
          return value
        }
        case op.PROTO: {
          const protocol = input.u8()
          if (protocol > 3) throw new PickleError(`pickle protocol ${protocol} is not known`)
          break
        }
        case op.MARK:
          this.#spend(1)
          this.#marks.push(stack.length)
          break
        case op.BINPUT:
          this.#put(input.u8())
          break
        case op.LONG_BINPUT:
          this.#put(input.u32())
          break
        case op.BINGET:
          this.#get(input.u8())
          break
        case op.LONG_BINGET:
          this.#get(input.u32())
          break
        case op.SHORT_BINBYTES:
        case op.SHORT_BINSTRING:
          this.#pushBytes(input.u8())
          break
        case op.BINBYTES:
        case op.BINSTRING:
          this.#pushBytes(input.u32())
          break
        case op.BINUNICODE:
          this.#push(input.text(input.u32()))
          break
        case op.GLOBAL:
          this.#push(this.#global())
          break
        case op.TUPLE1:
          this.#push(new Tuple([this.#pop()]))
          break
        case op.TUPLE2: {
          const second = this.#pop()
          this.#push(new Tuple([this.#pop(), second]))
          break
        }
        case op.TUPLE3: {
          const third = this.#pop()
          const second = this.#pop()
          this.#push(new Tuple([this.#pop(), second, third]))
          break
        }
        case op.TUPLE:
          this.#push(new Tuple(this.#popMark()))
          break
        case op.EMPTY_TUPLE:
          this.#push(new Tuple([]))
          break
        case op.BINPERSID:
          this.#push(this.#reference(this.#pop()))
          break
        case op.NONE:
          this.#push(null)
          break
        case op.NEWTRUE:
        case op.NEWFALSE:
          this.#push(opcode === op.NEWTRUE)
          break
        case op.BININT1:
          this.#push(input.u8())
          break
        case op.BININT2:
          this.#push(input.u16())
          break
        case op.BININT:
          this.#push(input.i32())
          break
        case op.LONG1:
          this.#push(input.long(input.u8()))
          break
        case op.LONG4:
          this.#push(input.long(input.u32()))
          break
        case op.INT:
          this.#push(input.decimalOrBool())
          break
        case op.LONG:
          this.#push(input.decimalLong())
          break
        case op.BINFLOAT:
          this.#push(new Float(input.double()))
          break
        case op.EMPTY_LIST:
          this.#spend(CONTAINER_COST)
          this.#push([])
          break
        case op.APPEND:
          this.#append([this.#pop()])
          break
        case op.APPENDS:
          this.#append(this.#popMark())
          break
        case op.EMPTY_DICT:
          this.#spend(CONTAINER_COST)
          this.#push(new Map())
          break
        case op.SETITEM: {
          const value = this.#pop()
          this.#setItems([this.#pop(), value])
          break
        }
        case op.SETITEMS:
          this.#setItems(this.#popMark())
          break
        case op.REDUCE:
        case op.NEWOBJ: {
          const args = this.#pop()
          this.#push(this.#opaque(this.#pop(), args))
          break
        }
        case op.OBJ: {
          const [callable, ...args] = this.#popMark()
          if (callable === undefined) throw new PickleError('an object has no class')
          this.#push(this.#opaque(callable, new Tuple(args)))
          break
        }
        case op.BUILD: {
          const state = this.#pop()
          const target = this.#top()
          if (!(target instanceof Opaque))
            throw new PickleError('a state is set on something other than an object')
          target.state = state
          break
        }
        case op.POP:
          if (this.#marks.at(-1) === stack.length) this.#marks.pop()
          else this.#pop()
          break
        case op.POP_MARK:
          this.#popMark()
          break
        case op.DUP:
          this.#push(this.#top())
          break
        case undefined:
          throw new PickleError('it ends in the middle of a pickle')
        default:
          throw new PickleError(`opcode 0x${opcode.toString(16)} is not known`)
      }
    }
  }

  #spend(cost: number): void {
    this.#budget -= cost
    if (this.#budget < 0) throw new PickleError(`it holds more than ${VALUES_MAX} values`)
  }

  #push(value: PickleValue): void {
    this.#spend(1)
    this.#stack.push(value)
  }

  #pop(): PickleValue {
    const value = this.#top()
    this.#stack.pop()
    return value
  }

  /** The topmost value above the topmost mark. */
  #top(): PickleValue {
    const last = this.#stack.length - 1
    const value = this.#stack[last]
    if (value === undefined || this.#marks[this.#marks.length - 1] === last + 1)
      throw new PickleError('the stack is empty')
    return value
  }

  #popMark(): PickleValue[] {
    const start = this.#marks.pop()
    if (start === undefined) throw new PickleError('there is no mark')
    return this.#stack.splice(start)
  }

  #put(index: number): void {
    if (index >= VALUES_MAX) throw new PickleError(`memo number ${index} is too large`)
    this.#memo[index] = this.#top()
  }

  #get(index: number): void {
    const value = this.#memo[index]
    if (value === undefined) throw new PickleError(`memo number ${index} was never set`)
    this.#push(value)
  }

  #pushBytes(len: number): void {
    this.#push(len > BYTE_STRING_MAX ? this.#input.view(len) : new ByteString(this.#input.latin1(len)))
  }

  #global(): Global {
    const module = this.#input.line()
    const name = this.#input.line()
    if (module === '' || name === '' || name.includes('.')) throw new PickleError('a class has no name')
    const global = new Global(module, name)
    const className = this.rename(global.className)
    return className === global.className ? global : Global.of(className)
  }

  #opaque(callable: PickleValue, args: PickleValue): Opaque {
    this.#spend(CONTAINER_COST)
    return new Opaque(callable, args)
  }

  /** The reference of a persistent id. Source: ZODB/serialize.py, "Persistent references". */
  #reference(id: PickleValue): Ref | Opaque {
    if (Array.isArray(id)) return this.#opaque(null, id)
    const [bytes, type] = id instanceof Tuple && id.items.length === 2 ? id.items : [id]
    const ref = new Ref(oidOf(bytes), type instanceof Global ? type.className : '')
    this.onRef(ref)
    return ref
  }

  #append(values: readonly PickleValue[]): void {
    const target = this.#top()
    const items = target instanceof Opaque ? target.items : target
    if (!Array.isArray(items)) throw new PickleError('items are appended to something other than a list')
    for (const value of values) items.push(value)
  }

  #setItems(flat: readonly PickleValue[]): void {
    const target = this.#top()
    if (flat.length % 2 !== 0) throw new PickleError('a key has no value')
    for (let i = 0; i < flat.length; i += 2) {
      const key = flat[i] as PickleValue
      const value = flat[i + 1] as PickleValue
      if (target instanceof Map) target.set(keyOf(key), value)
      else if (target instanceof Opaque) target.entries.push([key, value])
      else throw new PickleError('items are set in something other than a dictionary')
    }
  }
}

/** Decodes the 8 big-endian bytes of an oid. */
function oidOf(value: PickleValue | undefined): Oid {
  if (!(value instanceof ByteString) || value.latin1.length !== 8)
    throw new PickleError('an oid is not 8 bytes')
  const text = value.latin1
  let high = 0
  let low = 0
  for (let i = 0; i < 4; i++) {
    high = high * 256 + text.charCodeAt(i)
    low = low * 256 + text.charCodeAt(i + 4)
  }
  if (high >= 0x20_0000) throw new PickleError('an oid is 2^53 or more')
  return oid(high * 2 ** 32 + low)
}

/** A dictionary's key in the form used as a key of a Map. */
function keyOf(key: PickleValue): PickleValue {
  if (key instanceof ByteString) return ByteString.key(key.latin1)
  if (Array.isArray(key) || key instanceof Map || key instanceof Uint8Array)
    throw new PickleError('a dictionary has an unhashable key')
  return key
}
