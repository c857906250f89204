/** Checks on decoded values: that walking them terminates, and that they can be written back. */
import { PickleError } from './input.ts'
import { Global, Opaque, Ref, Tuple, type PickleValue } from './value.ts'

/** Maximum nesting of containers. */
export const DEPTH_MAX = 100

/** Integers `[-INTEGER_END, INTEGER_END)` fit into the 255 bytes of a LONG1. */
const INTEGER_END = 1n << 2039n
const INTEGER_START = -INTEGER_END

/** Integers of at most 63 bits are compared with short ones. */
const SHORT_END = 1n << 62n
const SHORT_START = -SHORT_END

/** Checks that a value has no cycles and is not nested too deeply. @throws PickleError */
export function checkDepth(value: PickleValue): void {
  check(value, () => undefined)
}

/** As {@link checkDepth}, and checks that the writer accepts the value. @throws PickleError */
export function checkWritable(value: PickleValue): void {
  check(value, unwritable)
}

/** Checks a value before it becomes part of a state. @throws TypeError if the writer does not accept it. */
export function assertWritable(value: PickleValue): void {
  // Most values are numbers and times, set by every operation.
  if (typeof value === 'number' ? Number.isSafeInteger(value) : isShort(value)) return
  try {
    checkWritable(value)
  } catch (error) {
    if (error instanceof PickleError) throw new TypeError(error.message, { cause: error })
    throw error
  }
}

const isShort = (value: PickleValue): boolean =>
  typeof value === 'bigint' && value < SHORT_END && value >= SHORT_START

/** Why the writer cannot write a value, ignoring nested values; undefined if it can. */
function unwritable(value: PickleValue): string | undefined {
  if (typeof value === 'number')
    return Number.isSafeInteger(value) ? undefined : `${value} is not an integer: use Float or bigint`
  if (typeof value === 'bigint')
    return value >= INTEGER_START && value < INTEGER_END
      ? undefined
      : 'an int of more than 254 bytes cannot be written'
  if (value instanceof Opaque) return 'an object of an unknown class cannot be written'
  if (value instanceof Ref || value instanceof Global) {
    const { className } = value
    return className === '' || Global.isName(className)
      ? undefined
      : `'${className}' is not the name of a class`
  }
  return undefined
}

function check(value: PickleValue, refuse: (value: PickleValue) => string | undefined): void {
  if (!isContainer(value)) {
    const refused = refuse(value)
    if (refused !== undefined) throw new PickleError(refused)
    return
  }
  /** The number of levels of each container; NaN while it is being computed. */
  const heights = new Map<PickleValue, number>()
  const measure = (value: PickleValue, depth: number): number => {
    const refused = refuse(value)
    if (refused !== undefined) throw new PickleError(refused)
    if (!isContainer(value)) return 0
    let height = heights.get(value)
    if (height === undefined) {
      const parts = partsOf(value)
      if (parts === undefined) return 0
      if (depth >= DEPTH_MAX) throw new PickleError(TOO_DEEP)
      heights.set(value, Number.NaN)
      height = 0
      for (const part of parts) height = Math.max(height, measure(part, depth + 1))
      height++
      heights.set(value, height)
    }
    if (Number.isNaN(height)) throw new PickleError('a value contains itself')
    if (depth + height > DEPTH_MAX) throw new PickleError(TOO_DEEP)
    return height
  }
  measure(value, 0)
}

const isContainer = (value: PickleValue): value is Exclude<PickleValue, Ref | null> & object =>
  typeof value === 'object' && value !== null && !(value instanceof Ref)

const TOO_DEEP = `values are nested more than ${DEPTH_MAX} deep`

function partsOf(value: PickleValue): readonly PickleValue[] | undefined {
  if (value instanceof Tuple) return value.items
  if (Array.isArray(value)) return value
  if (value instanceof Map) return [...value.keys(), ...value.values()]
  if (value instanceof Opaque)
    return [value.callable, value.args, value.state, ...value.items, ...value.entries.flat()]
  return undefined
}
