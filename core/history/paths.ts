/** Paths of a tree: relative to the root, one character per byte. */
import { partsOf } from './moment-view.ts'

export const depthOf = (path: string): number => partsOf(path).length

/**
 * Where a path is now that directories above it have moved; undefined if none has.
 * @param moved the present paths, by the former ones, of what has moved. What is below something that has moved before it has an entry of its own.
 */
export function movedPath(path: string, moved: Pick<ReadonlyMap<string, string>, 'get'>): string | undefined {
  for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
    const to = moved.get(path.slice(0, end))
    if (to !== undefined) return to + path.slice(end)
  }
  return undefined
}
