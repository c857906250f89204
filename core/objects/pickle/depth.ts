/** What keeps whoever walks a decoded value from running for ever or out of stack. */
import { PickleError } from './input.ts'
import { Opaque, Ref, Tuple, type PickleValue } from './value.ts'

const DEPTH_MAX = 100

/** Checks that a value has no cycles and does not nest too deeply. @throws PickleError */
export function checkDepth(value: PickleValue): void {
  /** How many levels a container has; NaN while that is being found out. */
  const heights = new Map<PickleValue, number>()
  const measure = (value: PickleValue, depth: number): number => {
    if (typeof value !== 'object' || value === null || value instanceof Ref) return 0
    let height = heights.get(value)
    if (height === undefined) {
      const parts = partsOf(value)
      if (parts === undefined) return 0
      if (depth >= DEPTH_MAX) throw new PickleError(`values nest more than ${DEPTH_MAX} deep`)
      heights.set(value, Number.NaN)
      height = 0
      for (const part of parts) height = Math.max(height, measure(part, depth + 1))
      height++
      heights.set(value, height)
    }
    if (Number.isNaN(height)) throw new PickleError('a value contains itself')
    if (depth + height > DEPTH_MAX) throw new PickleError(`values nest more than ${DEPTH_MAX} deep`)
    return height
  }
  measure(value, 0)
}

function partsOf(value: PickleValue): readonly PickleValue[] | undefined {
  if (value instanceof Tuple) return value.items
  if (Array.isArray(value)) return value
  if (value instanceof Map) return [...value.keys(), ...value.values()]
  if (value instanceof Opaque)
    return [value.callable, value.args, value.state, ...value.items, ...value.entries.flat()]
  return undefined
}
