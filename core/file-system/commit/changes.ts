/**
 * What has changed since the last prepare: the files whose stored size must be computed, the approximate memory of the
 * changes besides file data, the description of the transaction, and the processes that made them. Operations add to it with
 * the gate shared; a prepare takes it with the gate exclusive.
 */
import { textOfStored } from '../../stored-names.ts'
import type { Oid } from '../../../store/ids.ts'
import { nodePath } from '../inodes/node-path.ts'
import type { Node } from '../inodes/tree.ts'
import { Writers } from './writers.ts'

/** Maximum number of files that are named in a description. */
const NAMED_MAX = 50
const DESCRIPTION_MAX_LENGTH = 400

/** The changes that one prepare serialises. */
export interface TakenChanges {
  readonly bytes: number
  /** Files whose data changed. */
  readonly files: Set<Node>
  readonly named: ReadonlySet<Node>
  readonly hasMore: boolean
  readonly messages: readonly string[]
  readonly writers: Writers
}

export class Changes {
  #bytes: number | undefined
  #files = new Set<Node>()
  #named = new Set<Node>()
  /** Records counted in addition to {@link Changes.add}, once each, and their bytes. */
  readonly #records = new Map<Oid, number>()
  #hasMore = false
  #messages: string[] = []
  #writers = new Writers()

  get isEmpty(): boolean {
    return this.#bytes === undefined
  }

  /** Approximate memory of the changes, without file data. */
  get bytes(): number {
    return this.#bytes ?? 0
  }

  /** Files whose data changed. */
  get files(): ReadonlySet<Node> {
    return this.#files
  }

  /** Adds a change of `bytes` in memory. */
  add(bytes: number): void {
    this.#bytes = (this.#bytes ?? 0) + bytes
  }

  /** Counts the long parts of a changed inode's record, once per inode: any change holds all of them. */
  addRecord(node: Node): void {
    const bytes = node.inode.recordExtraBytes
    const more = bytes - (this.#records.get(node.oid) ?? 0)
    if (more <= 0) return
    this.#records.set(node.oid, bytes)
    this.add(more)
  }

  /** Names an inode in the description. */
  name(node: Node): void {
    if (this.#named.size < NAMED_MAX) this.#named.add(node)
    else if (!this.#named.has(node)) this.#hasMore = true
  }

  /** Adds a file whose data changed. */
  addFile(node: Node): void {
    this.#files.add(node)
  }

  /** Sets a description for the next transaction, instead of the names of its files. */
  addMessage(message: string): void {
    this.#messages.push(message)
  }

  /** The processes that made the changes. */
  get writers(): Writers {
    return this.#writers
  }

  /** Returns all changes and clears them. */
  take(): TakenChanges {
    const taken = {
      bytes: this.bytes,
      files: this.#files,
      named: this.#named,
      hasMore: this.#hasMore,
      messages: this.#messages,
      writers: this.#writers,
    }
    this.clear()
    return taken
  }

  /** After a failure: puts back what was taken. Prepared changes are pending records, and counted there. */
  putBack(taken: TakenChanges, isPrepared: boolean): void {
    for (const node of taken.named) this.name(node)
    this.#hasMore ||= taken.hasMore
    this.#messages.unshift(...taken.messages)
    this.#writers.putBack(taken.writers)
    if (isPrepared) return
    this.add(taken.bytes)
    for (const node of taken.files) this.#files.add(node)
  }

  clear(): void {
    this.#bytes = undefined
    this.#files = new Set()
    this.#named = new Set()
    this.#records.clear()
    this.#hasMore = false
    this.#messages = []
    this.#writers = new Writers()
  }
}

/** The description of a transaction: its messages, else the paths of its files, cut at a bound. */
export function describe({ named, hasMore, messages }: TakenChanges): string {
  if (messages.length > 0) return messages.join('; ')
  const paths = [...new Set([...named].map(pathOf))].sort()
  let length = 0
  const shown = paths.findIndex(path => (length += path.length + 2) > DESCRIPTION_MAX_LENGTH)
  const names = shown < 0 ? paths : paths.slice(0, Math.max(1, shown))
  const isCut = hasMore || names.length < paths.length
  return names.join(', ').slice(0, DESCRIPTION_MAX_LENGTH) + (isCut ? ' and more' : '')
}

/** The path of a node as text. */
const pathOf = (node: Node): string => textOfStored(nodePath(node).path || '/')
