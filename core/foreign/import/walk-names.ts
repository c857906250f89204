/** Walks the names of a foreign database: every path from its root mapping to a big file. */
import type { Connection } from '../../objects/connection.ts'
import { eachOfForeign } from '../damage.ts'
import { readArray } from '../array.ts'
import { ForeignDirectory } from '../naming.ts'
import { PersistentMapping } from '../../objects/persistent-mapping.ts'
import { Ref } from '../../objects/pickle/value.ts'
import { ROOT_OID, type Oid } from '../../../store/ids.ts'

export interface NamedFile {
  /** One character per byte, names divided by '/'. */
  readonly path: string
  readonly file: Oid
}

const BATCH = 500
const MAX_DEPTH = 64

/** A directory met in two places is walked in the first alone: a database may have loops. */
export function walkNames(
  connection: Connection,
  onSkip: (reason: string) => void,
): AsyncGenerator<NamedFile> {
  const seen = new Set<Oid>([ROOT_OID])
  return eachOfForeign(connection, walk(new Ref(ROOT_OID, PersistentMapping.CLASS_NAME), '', 0))

  async function* walk(ref: Ref, prefix: string, depth: number): AsyncGenerator<NamedFile> {
    const directory = await ForeignDirectory.open(connection, ref, onSkip)
    for (let after: string | undefined; ;) {
      const entries = await directory.after(after, BATCH)
      const last = entries.at(-1)
      if (last === undefined) return
      after = last.name
      for (const { name, kind, ref } of entries) {
        const path = `${prefix}${name}`
        if (kind === 'file') yield { path, file: ref.oid }
        else if (kind === 'array') yield { path, file: (await readArray(connection, ref.oid)).zfile.oid }
        else if (seen.has(ref.oid) || depth >= MAX_DEPTH) onSkip(`${path} was met before`)
        else {
          seen.add(ref.oid)
          yield* walk(ref, `${path}/`, depth + 1)
        }
      }
    }
  }
}
