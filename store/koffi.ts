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

/** What calls in other threads work on. */
const held = new Set<readonly unknown[]>()

/** Calls a function of a library in a thread of libuv's pool. The memory that it is given must stay as it is meanwhile. */
export function callElsewhere(
  call: NativeFunction,
  ...parameters: readonly unknown[]
): Promise<number | bigint> {
  held.add(parameters)
  return new Promise((resolve, reject) => {
    call.async(...parameters, (error: Error | null, result: number | bigint) => {
      held.delete(parameters)
      if (error) reject(error)
      else resolve(result)
    })
  })
}
