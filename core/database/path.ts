/** Paths as a program gives them. */
import * as osText from '../../store/os-text.ts'

/** A path: text, in UTF-8 or as store/os-text.ts has other bytes, or the bytes themselves. */
export type Path = string | Uint8Array

export const SLASH = Buffer.from('/')

export const bytesOf = (path: Path): Buffer =>
  typeof path === 'string' ? osText.bytesOf(path) : Buffer.from(path)

export const textOf = (path: Path): string => (typeof path === 'string' ? path : osText.textOf(path))
