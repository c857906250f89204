/** Names in the root of the live tree that lead to what is made up: nobody can create, rename or remove them. */
import { parseMoment } from '../../store/moments.ts'
import type { Name } from './operations.ts'
import type { Node } from './inodes/node.ts'

/** The directory of made-up files. */
export const CONTROL_NAME = '.zblkfs'
/** What a moment's name begins with. */
export const MOMENT_PREFIX = '@'

/** Tags are not reserved: a file of the same name is what the name leads to. */
export function isReserved(directory: Node, name: Name): boolean {
  if (!isLiveRoot(directory)) return false
  if (name === CONTROL_NAME) return true
  return name.startsWith(MOMENT_PREFIX) && !('tag' in parseMoment(name.slice(MOMENT_PREFIX.length), 0))
}

export const isLiveRoot = (node: Node): boolean => node.tree.number === 0 && node.oid === node.tree.rootOid
