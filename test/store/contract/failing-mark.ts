/** A `MarkModule` that must not be used. */
import type { Edges, Mark } from '../../../store/stored-revisions.ts'

export const FAILING_MARKER = new URL(import.meta.url)
export const MARKED = 'objects were marked'

export const mark: Mark = () => Promise.reject(new Error(MARKED))

export const edges: Edges = {
  of: () => {
    throw new Error(MARKED)
  },
  isData: () => false,
}
