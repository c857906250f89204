/** Paths as bytes and as text. */
import type { Path } from './walk.ts'

export const SLASH = Buffer.from('/')

export const bytesOf = (path: Path): Buffer =>
  typeof path === 'string' ? Buffer.from(path, 'utf8') : Buffer.from(path)

export const textOf = (path: Path): string =>
  typeof path === 'string' ? path : Buffer.from(path).toString('utf8')
