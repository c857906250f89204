/** Which files a transaction changes, as its description for people: bounded, however many there are. */
import type { Node } from '../inodes/node.ts'

/** More are counted, not named. */
const NAMED_MAX = 50
const DESCRIPTION_MAX_LENGTH = 400
const DEPTH_MAX = 50

export class ChangedFiles {
  #named = new Set<Node>()
  #hasMore = false

  note(node: Node): void {
    if (this.#named.size < NAMED_MAX) this.#named.add(node)
    else if (!this.#named.has(node)) this.#hasMore = true
  }

  /** Describes what was noted, and begins anew. */
  take(): string {
    const paths = [...new Set([...this.#named].map(pathOf))].sort()
    let length = 0
    const shown = paths.findIndex(path => (length += path.length + 2) > DESCRIPTION_MAX_LENGTH)
    const names = shown < 0 ? paths : paths.slice(0, Math.max(1, shown))
    const isCut = this.#hasMore || names.length < paths.length
    this.#named = new Set()
    this.#hasMore = false
    return names.join(', ').slice(0, DESCRIPTION_MAX_LENGTH) + (isCut ? ' and more' : '')
  }
}

/** A node's path as far as it is known here, as text. */
function pathOf(node: Node): string {
  const names: string[] = []
  let at: Node | undefined = node
  while (at?.name !== undefined && names.length < DEPTH_MAX) {
    names.unshift(at.name.name)
    at = at.tree.known(at.name.parent)
  }
  return Buffer.from(names.join('/') || '/', 'latin1').toString('utf8')
}
