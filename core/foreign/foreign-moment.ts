/**
 * Reads an external ZODB database at one moment by path, without a mount, for commands. Paths are those of an import:
 * names from the root mapping on, one character per byte, without a leading slash.
 */
import { Connection } from '../objects/connection.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { Ref } from '../objects/pickle/value.ts'
import { ROOT_OID, type Oid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { readArray } from './array.ts'
import { readingForeign } from './damage.ts'
import { openForeignFile, type ForeignFile } from './file.ts'
import { ForeignDirectory, type ForeignEntry } from './naming.ts'

const CACHE_BYTES = 8 << 20
const BATCH = 256

/** A directory or a file. */
export type ForeignPlace =
  { readonly kind: 'directory'; readonly ref: Ref } | { readonly kind: 'file'; readonly file: Oid }

export class ForeignMoment {
  readonly #connection: Connection

  private constructor(connection: Connection) {
    this.#connection = connection
  }

  static async open(store: Store, at: Tid): Promise<ForeignMoment> {
    return new ForeignMoment(await Connection.open(store, { at, cacheSizeBytes: CACHE_BYTES }))
  }

  get at(): Tid {
    return this.#connection.at
  }

  /** The directory or file of a path; undefined if there is none. @throws ObjectNotFoundError, CorruptRecordError */
  async find(path: string): Promise<ForeignPlace | undefined> {
    let place: ForeignPlace = { kind: 'directory', ref: new Ref(ROOT_OID, PersistentMapping.CLASS_NAME) }
    for (const name of path.split('/').filter(part => part !== '')) {
      if (place.kind !== 'directory') return undefined
      const { ref } = place
      const entry = await this.#read(async () => (await this.#directory(ref)).get(name))
      if (entry === undefined) return undefined
      place = await this.#placeOf(entry)
    }
    return place
  }

  /** The entries of a directory, in order, with the size of each file in bytes. */
  async *list(ref: Ref): AsyncGenerator<{ readonly name: string; readonly size: bigint | undefined }> {
    for (let after: string | undefined; ;) {
      const from = after
      const entries = await this.#read(async () => (await this.#directory(ref)).after(from, BATCH))
      for (const entry of entries) {
        const place = await this.#placeOf(entry)
        const size = place.kind === 'file' ? (await this.open(place.file)).size : undefined
        yield { name: entry.name, size }
      }
      after = entries.at(-1)?.name
      if (after === undefined) return
    }
  }

  /** A file's data. */
  open(file: Oid): Promise<ForeignFile> {
    return this.#read(() => openForeignFile(this.#connection, file))
  }

  /** Bytes `[off, off + len)` of a file, in pieces. */
  read({ data }: ForeignFile, off: bigint, len: number): Promise<readonly Uint8Array[]> {
    return this.#read(async () => await data.read(off, len))
  }

  async #placeOf({ kind, ref }: ForeignEntry): Promise<ForeignPlace> {
    if (kind === 'directory') return { kind, ref }
    if (kind === 'file') return { kind, file: ref.oid }
    const { zfile } = await this.#read(() => readArray(this.#connection, ref.oid))
    return { kind: 'file', file: zfile.oid }
  }

  #directory(ref: Ref): Promise<ForeignDirectory> {
    return ForeignDirectory.open(this.#connection, ref, () => {})
  }

  #read<T>(read: () => Promise<T>): Promise<T> {
    return readingForeign(this.#connection, read)
  }
}
