/**
 * Names and paths in their stored form: one character per byte (latin1). A stored path is relative to the root, without a leading
 * slash; the root's own is ''.
 */
import { bytesOf, textOf } from '../store/os-text.ts'

/** The stored form of a name. */
export const storedName = (name: string): string => bytesOf(name).toString('latin1')

/** The stored form of a path, without empty names and `.`. */
export const storedPath = (path: string): string =>
  storedName(path)
    .split('/')
    .filter(name => name !== '' && name !== '.')
    .join('/')

/** A stored name or path as text, which gives the same bytes back. */
export const textOfStored = (stored: string): string => textOf(Buffer.from(stored, 'latin1'))
