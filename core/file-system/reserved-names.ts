/** Names in the root of the live tree that lead to generated directories: they cannot be created, renamed or removed. */
import { parseMoment } from '../../store/moments.ts'
import type { Name } from './operations.ts'
import type { Node } from './inodes/tree.ts'

/** The directory of generated files. */
export const CONTROL_NAME = '.zblkfs'
/** Prefix of the names of moments. */
export const MOMENT_PREFIX = '@'

/** Whether a name in the root of the live tree is reserved. Names of tags are not: a file of that name takes precedence. */
export const isReservedName = (name: string): boolean =>
  name === CONTROL_NAME ||
  (name.startsWith(MOMENT_PREFIX) && !('tag' in parseMoment(name.slice(MOMENT_PREFIX.length), 0)))

export const isReserved = (directory: Node, name: Name): boolean =>
  isLiveRoot(directory) && isReservedName(name)

export const isLiveRoot = (node: Node): boolean => node.tree.number === 0 && node.oid === node.tree.rootOid
