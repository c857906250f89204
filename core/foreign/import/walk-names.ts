/** Walks the names of an external ZODB database: every path from its root mapping to a big file. */
import type { Connection } from '../../objects/connection.ts'
import { eachOfForeign } from '../damage.ts'
import { readArray } from '../array.ts'
import { ForeignDirectory, type ForeignEntry } from '../naming.ts'
import { PersistentMapping } from '../../objects/persistent-mapping.ts'
import { Ref } from '../../objects/pickle/value.ts'
import { ObjectNotFoundError } from '../../../store/errors.ts'
import { ROOT_OID, type Oid } from '../../../store/ids.ts'

export interface NamedFile {
  /** One character per byte, names separated by '/'. */
  readonly path: string
  readonly file: Oid
}

export interface WalkOptions {
  /** Receives the reason why a name is skipped. */
  readonly onSkip?: (reason: string) => void
  /** Receives each missing object on a path; if absent, a missing object is an error. */
  readonly onMissing?: (oid: Oid) => void
}

const BATCH = 500
const MAX_DEPTH = 64

/** Lists the files. A directory with two names is walked once: a database may have loops. */
export function walkNames(connection: Connection, options: WalkOptions = {}): AsyncGenerator<NamedFile> {
  const walk = new NameWalk(connection, options)
  return eachOfForeign(connection, walk.files(new Ref(ROOT_OID, PersistentMapping.CLASS_NAME), '', 0))
}

class NameWalk {
  readonly #connection: Connection
  readonly #options: WalkOptions
  readonly #seen = new Set<Oid>([ROOT_OID])

  constructor(connection: Connection, options: WalkOptions) {
    this.#connection = connection
    this.#options = options
  }

  async *files(ref: Ref, prefix: string, depth: number): AsyncGenerator<NamedFile> {
    const { onSkip = () => {} } = this.#options
    const directory = await this.#present(() => ForeignDirectory.open(this.#connection, ref, onSkip))
    if (directory === undefined) return
    for (let after: string | undefined; ;) {
      const from = after
      const entries = (await this.#present(() => directory.after(from, BATCH))) ?? []
      for (const entry of entries) {
        const path = `${prefix}${entry.name}`
        if (entry.kind !== 'directory') {
          const file = await this.#fileOf(entry)
          if (file !== undefined) yield { path, file }
        } else if (this.#seen.has(entry.ref.oid) || depth >= MAX_DEPTH)
          onSkip(`${path} is a directory that has another name`)
        else {
          this.#seen.add(entry.ref.oid)
          yield* this.files(entry.ref, `${path}/`, depth + 1)
        }
      }
      after = entries.at(-1)?.name
      if (after === undefined) return
    }
  }

  async #fileOf({ kind, ref }: ForeignEntry): Promise<Oid | undefined> {
    if (kind === 'file') return ref.oid
    return (await this.#present(() => readArray(this.#connection, ref.oid)))?.zfile.oid
  }

  /** The result of `read`; undefined if it meets a missing object. */
  async #present<T>(read: () => Promise<T>): Promise<T | undefined> {
    const { onMissing } = this.#options
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError) || onMissing === undefined) throw error
      onMissing(error.oid)
      return undefined
    }
  }
}
