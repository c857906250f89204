/**
 * Reads whose results are kept from the load step of a commit to its prepare, so that the prepare, which runs while no change may,
 * does not read them from the store again. Records are immutable, so what is kept stays right until the view moves.
 */
import type { Oid } from '../../store/ids.ts'
import type { Revision, SliceRead } from '../../store/store.ts'
import type { RecordSource } from '../../store/changes.ts'
import type { Tid } from '../../store/ids.ts'
import type { DataReads, Records } from './records.ts'

/** Maximum bytes that are kept. What does not fit is read again. */
const KEPT_BYTES_MAX = 16 << 20

export class KeptReads implements DataReads {
  readonly #records: Records
  readonly #revisions = new Map<Oid, Revision | undefined>()
  readonly #slices = new Map<string, Uint8Array>()
  #bytes = 0
  #isKeeping = false

  constructor(records: Records) {
    this.#records = records
  }

  get at(): Tid {
    return this.#records.at
  }

  pending(oid: Oid): RecordSource | undefined {
    return this.#records.pending(oid)
  }

  /** From here on what is read is kept. */
  keep(): void {
    this.#isKeeping = true
  }

  drop(): void {
    this.#isKeeping = false
    this.#revisions.clear()
    this.#slices.clear()
    this.#bytes = 0
  }

  async load(oids: readonly Oid[]): Promise<readonly (Revision | undefined)[]> {
    const missing = oids.filter(oid => !this.#revisions.has(oid))
    if (missing.length === oids.length && !this.#isKeeping) return await this.#records.load(oids)
    const loaded = missing.length === 0 ? [] : await this.#records.load(missing)
    const found = new Map(missing.map((oid, i) => [oid, loaded[i]]))
    for (const [oid, revision] of found)
      if (this.#takes(revision?.record.length ?? 0)) this.#revisions.set(oid, revision)
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
    for (const read of missing)
      if (this.#takes(read.into.length)) this.#slices.set(keyOf(read), Uint8Array.from(read.into))
  }

  /** Whether bytes are to be kept; counts them. */
  #takes(bytes: number): boolean {
    if (!this.#isKeeping || this.#bytes + bytes > KEPT_BYTES_MAX) return false
    this.#bytes += bytes
    return true
  }
}

const keyOf = ({ oid, tid, off, into }: SliceRead): string => `${oid} ${tid} ${off} ${into.length}`
