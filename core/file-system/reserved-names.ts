/** Names in the root of the live tree that lead to generated directories: they cannot be created, renamed or removed. */
import { parseMoment } from '../../store/moments.ts'
import type { Name } from './operations.ts'
import type { Node } from './inodes/tree.ts'

/** The directory of generated files. */
export const CONTROL_NAME = '.zblkfs'
/** Prefix of the names of moments. */
export const MOMENT_PREFIX = '@'

/** Names of tags are not reserved: a file of that name takes precedence. */
export function isReserved(directory: Node, name: Name): boolean {
  if (!isLiveRoot(directory)) return false
  if (name === CONTROL_NAME) return true
  return name.startsWith(MOMENT_PREFIX) && !('tag' in parseMoment(name.slice(MOMENT_PREFIX.length), 0))
}

export const isLiveRoot = (node: Node): boolean => node.tree.number === 0 && node.oid === node.tree.rootOid
