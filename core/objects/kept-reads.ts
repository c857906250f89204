/**
 * Reads whose results are kept from the load step of a commit to its prepare, so that the prepare, which runs while no change may,
 * does not read them from the store again. Records are immutable, so what is kept stays right until the view moves.
 *
 * What is kept is in proportion to the changes, which are bounded. The stored bytes of blocks that could become one record, of which a
 * changed byte may need 2 MiB, have a bound of their own ({@link KeptReads.allows}).
 */
import type { Oid } from '../../store/ids.ts'
import type { Revision, SliceRead } from '../../store/store.ts'
import type { RecordSource } from '../../store/changes.ts'
import type { Tid } from '../../store/ids.ts'
import type { DataReads, Records } from './records.ts'

/** Maximum bytes of whole blocks that are kept. */
const BLOCK_BYTES_MAX = 16 << 20

/** What is to be read of a block. */
export interface BytesToRead {
  /** Records that are read whole. */
  readonly oids: readonly Oid[]
  readonly slices: readonly SliceRead[]
  readonly bytes: number
}

export class KeptReads implements DataReads {
  readonly #records: Records
  readonly #revisions = new Map<Oid, Revision | undefined>()
  readonly #slices = new Map<string, Uint8Array>()
  #blockBytes = 0
  #state: 'off' | 'keeping' | 'sealed' = 'off'

  constructor(records: Records) {
    this.#records = records
  }

  /** Whether what is read is kept: from the beginning of a commit's load step to its prepare. */
  get isKeeping(): boolean {
    return this.#state === 'keeping'
  }

  get at(): Tid {
    return this.#records.at
  }

  pending(oid: Oid): RecordSource | undefined {
    return this.#records.pending(oid)
  }

  /** From here on what is read is kept. */
  keep(): void {
    this.#state = 'keeping'
  }

  /** What was kept can be read until {@link KeptReads.drop}; nothing is added. */
  seal(): void {
    if (this.#state === 'keeping') this.#state = 'sealed'
  }

  drop(): void {
    this.#state = 'off'
    this.#revisions.clear()
    this.#slices.clear()
    this.#blockBytes = 0
  }

  async load(oids: readonly Oid[]): Promise<readonly (Revision | undefined)[]> {
    if (this.#state === 'off') return await this.#records.load(oids)
    const missing = oids.filter(oid => !this.#revisions.has(oid))
    const loaded = missing.length === 0 ? [] : await this.#records.load(missing)
    const found = new Map(missing.map((oid, i) => [oid, loaded[i]]))
    if (this.isKeeping) for (const [oid, revision] of found) this.#revisions.set(oid, revision)
    return oids.map(oid => found.get(oid) ?? this.#revisions.get(oid))
  }

  async readSlices(reads: readonly SliceRead[]): Promise<void> {
    const missing = reads.filter(read => {
      const kept = this.#slices.get(keyOf(read))
      if (kept !== undefined) read.into.set(kept)
      return kept === undefined
    })
    if (missing.length === 0) return
    await this.#records.readSlices(missing)
    // The memory is the caller's, which may change it.
    if (this.isKeeping) for (const read of missing) this.#slices.set(keyOf(read), Uint8Array.from(read.into))
  }

  /**
   * Whether a block may become one record, for which these stored bytes are read: within the bound while reads are kept;
   * afterwards, if they were.
   */
  allows({ oids, slices, bytes }: BytesToRead): boolean {
    if (this.#state === 'off' || bytes === 0) return true
    if (this.#state === 'sealed')
      return (
        oids.every(oid => this.#revisions.has(oid)) && slices.every(read => this.#slices.has(keyOf(read)))
      )
    if (this.#blockBytes + bytes > BLOCK_BYTES_MAX) return false
    this.#blockBytes += bytes
    return true
  }
}

const keyOf = ({ oid, tid, off, into }: SliceRead): string => `${oid} ${tid} ${off} ${into.length}`
