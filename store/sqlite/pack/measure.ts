/** Measures what a pack would keep, without dropping anything. */
import type { Mark, Measured, OnMeasured, StoredRevision } from '../../capabilities.ts'
import { UNIT_BYTES } from '../../indexed/frame.ts'
import type { KeptMoments } from '../../kept-moments.ts'
import { PagedBitmap } from '../../paged-bitmap.ts'
import type { PackReader } from './pack-reader.ts'
import { judge } from './sweep.ts'

/** The part of the progress that marking takes. */
const MARK_PART = 0.9

/** What a pack that keeps these moments would leave. @throws CorruptRecordError as a pack does. */
export async function measureLeft(
  reader: PackReader,
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
    for (const { entry, stays } of judge(reader.entries(), kept, reached, lastTid)) {
      progress(nextOid * MARK_PART + Math.min(entry.oid, nextOid) * (1 - MARK_PART), nextOid)
      if (stays) tally.add(entry)
    }
    return tally.result(reader.logEnd().logEnd)
  } finally {
    reached.close()
    tally.close()
  }
}

/** All revisions. */
export function measureAll(reader: PackReader): Measured {
  const { logEnd } = reader.logEnd()
  const tally = new Tally()
  try {
    for (const entry of reader.entries()) tally.add(entry)
    return tally.result(logEnd)
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

  result(logEnd: number): Measured {
    const units = this.#used.count(0, Math.ceil(logEnd / UNIT_BYTES))
    return { revisions: this.#revisions, bytes: this.#ownBytes + units * UNIT_BYTES }
  }

  close(): void {
    this.#used.close()
  }
}
