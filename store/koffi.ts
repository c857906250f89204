/**
 * Loads koffi, which calls C functions: its binary for this processor. The package `koffi` only finds and loads that binary, and has an
 * install script, of which npm warns. So it is a development dependency, for its types.
 */
import { createRequire } from 'node:module'
import type Koffi from 'koffi'
import { messageOf, StoreError } from './errors.ts'

function load(): typeof Koffi {
  const name = `@koromix/koffi-${process.platform}-${process.arch}`
  try {
    return createRequire(import.meta.url)(name) as typeof Koffi
  } catch (error) {
    throw new StoreError(`the package ${name} cannot be loaded: ${messageOf(error)}`, { cause: error })
  }
}

export const koffi = load()

type NativeFunction = ReturnType<ReturnType<typeof koffi.load>['func']>

/** The parameters of calls that are in progress in other threads: koffi does not keep their memory. */
const held = new Set<readonly unknown[]>()

/** The outcome of a call in another thread: its result, and its errno if that is negative. */
export interface Outcome {
  readonly result: number
  readonly errno: number
}

/** Calls a function of a library in a thread of libuv's pool. The memory that it is given must not change meanwhile. */
export function callElsewhere(call: NativeFunction, ...parameters: readonly unknown[]): Promise<Outcome> {
  held.add(parameters)
  return new Promise((resolve, reject) => {
    call.async(...parameters, (error: Error | null, returned: number | bigint) => {
      held.delete(parameters)
      if (error) return reject(error)
      const result = Number(returned)
      resolve({ result, errno: result < 0 ? koffi.errno() : 0 })
    })
  })
}
