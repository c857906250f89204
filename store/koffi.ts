/**
 * koffi, which calls C functions: its binary for this processor alone. The package `koffi` only finds and loads that binary, and has
 * an install script, of which npm warns; so it is a dependency for its types and no more.
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
