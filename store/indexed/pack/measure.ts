/** Measures what a pack would keep, without dropping anything. */
import type { Measured, OnMeasured } from '../../capabilities.ts'
import type { Mark, StoredRevision } from '../../stored-revisions.ts'
import type { KeptMoments } from '../../kept-moments.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import { UNIT_BYTES } from '../frame.ts'
import type { PackSource } from './pack-source.ts'
import { judge } from './sweep.ts'

/** Marking's share of the progress. */
const MARK_PART = 0.9

/** Measures what would remain after a pack that keeps these moments. @throws CorruptRecordError as a pack does. */
export async function measureLeft(
  reader: PackSource,
  kept: KeptMoments,
  mark: Mark,
  progress: OnMeasured = () => {},
): Promise<Measured> {
  const { lastTid, nextOid } = await reader.totals()
  const reached = await mark(reader, kept, lastTid, done => {
    progress(Math.min(done, nextOid) * MARK_PART, nextOid)
    return undefined
  })
  const tally = new Tally()
  try {
    for await (const judged of judge(reader.entries(), kept, reached, lastTid)) {
      const oid = judged.at(-1)?.entry.oid ?? 0
      progress(nextOid * MARK_PART + Math.min(oid, nextOid) * (1 - MARK_PART), nextOid)
      for (const { entry, stays } of judged) if (stays) tally.add(entry)
    }
    return tally.result((await reader.end()).bulkEnd)
  } finally {
    reached.close()
    tally.close()
  }
}

/** Measures all revisions. */
export async function measureAll(reader: PackSource): Promise<Measured> {
  const { bulkEnd } = await reader.end()
  const tally = new Tally()
  try {
    for await (const entries of reader.entries()) for (const entry of entries) tally.add(entry)
    return tally.result(bulkEnd)
  } finally {
    tally.close()
  }
}

class Tally {
  readonly #used = new PagedBitmap()
  #revisions = 0
  #ownBytes = 0

  add({ ownBytes, unitLo, unitHi }: StoredRevision): void {
    this.#revisions++
    this.#ownBytes += ownBytes
    this.#used.addRange(unitLo, unitHi)
  }

  result(bulkEnd: number): Measured {
    const units = this.#used.count(0, Math.ceil(bulkEnd / UNIT_BYTES))
    return { revisions: this.#revisions, bytes: this.#ownBytes + units * UNIT_BYTES }
  }

  close(): void {
    this.#used.close()
  }
}
