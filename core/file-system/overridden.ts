import type { Operations } from './operations.ts'

/** Operations with some of them replaced. Other methods, also those beyond {@link Operations}, are those of `operations`. */
export function overridden<T extends Operations>(operations: T, replaced: Partial<Operations>): T {
  /** Each method once: a bound method costs more than a look-up. */
  const bound = new Map<PropertyKey, unknown>()
  return new Proxy(operations, {
    get(target, name) {
      const known = bound.get(name)
      if (known !== undefined) return known
      const method: unknown = Reflect.get(replaced, name) ?? Reflect.get(target, name)
      if (typeof method !== 'function') return method
      const own: unknown = method.bind(target)
      bound.set(name, own)
      return own
    },
  })
}
