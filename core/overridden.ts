/** An object with some of its methods replaced. Its other methods, also those beyond `Base`, run on the object itself. */
export function overridden<Base extends object, T extends Base>(object: T, replaced: Partial<Base>): T {
  /** Each method once: a bound method costs more than a look-up. */
  const bound = new Map<PropertyKey, unknown>()
  return new Proxy(object, {
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
