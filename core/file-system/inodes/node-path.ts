/** The path of a node, from the names of the directories in memory. */
import type { Node } from './tree.ts'

const DEPTH_MAX = 50

export interface NodePath {
  /** One character per byte, without a leading slash; the root's is ''. */
  readonly path: string
  /** Whether it begins at the root: false if a directory above is not in use, or the path is too deep. */
  readonly isWhole: boolean
}

/** The path of a node, up to the first directory that is not in use. */
export function nodePath(node: Node): NodePath {
  const { tree } = node
  const names: string[] = []
  let { oid } = node
  let at: Node | undefined = node
  while (at?.name !== undefined && names.length < DEPTH_MAX) {
    names.unshift(at.name.name)
    oid = at.name.parent
    at = tree.known(oid)
  }
  return { path: names.join('/'), isWhole: oid === tree.rootOid }
}
