/** How much of a database is what: measured with the eyes of a pack, which drops nothing. */
import type { KeptMoments } from '../../store/kept-moments.ts'
import type { PackReader } from '../../store/sqlite/pack/pack-reader.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { UNIT_BYTES } from '../../store/indexed/frame.ts'
import { mark } from './mark.ts'
import { addLive } from './pack-log.ts'
import { judge } from './sweep.ts'

/** Bytes that several revisions share are counted once, those in the log in whole units. */
export interface Measured {
  readonly revisions: number
  /** Of records in the index, and in the log. */
  readonly bytes: number
}

export type OnMeasured = (what: 'mark' | 'sweep', done: number, total: number) => void

/** What a pack that keeps these moments would leave. @throws CorruptRecordError as a pack does. */
export async function measureKept(
  reader: PackReader,
  kept: KeptMoments,
  progress: OnMeasured = () => {},
): Promise<Measured> {
  const { lastTid, nextOid, logEnd } = reader.totals()
  const reached = await mark(reader, kept, lastTid, done => {
    progress('mark', Math.min(done, nextOid), nextOid)
    return undefined
  })
  const tally = new Tally()
  try {
    for (const { entry, stays } of judge(reader.entries(), kept, reached, lastTid)) {
      progress('sweep', Math.min(entry.oid, nextOid), nextOid)
      if (stays) tally.add(entry)
    }
    return tally.result(logEnd)
  } finally {
    reached.close()
    tally.close()
  }
}

/** All revisions there are. */
export function measureAll(reader: PackReader): Measured {
  const { logEnd } = reader.totals()
  const tally = new Tally()
  try {
    for (const entry of reader.entries()) tally.add(entry)
    return tally.result(logEnd)
  } finally {
    tally.close()
  }
}

class Tally {
  readonly #log = new PagedBitmap()
  #revisions = 0
  #inlineBytes = 0

  add(entry: { readonly inlineBytes: number; readonly pos: number | undefined; readonly len: number }): void {
    this.#revisions++
    this.#inlineBytes += entry.inlineBytes
    if (entry.pos !== undefined) addLive(this.#log, entry.pos, entry.len)
  }

  result(logEnd: number): Measured {
    const logBytes = this.#log.count(0, Math.ceil(logEnd / UNIT_BYTES)) * UNIT_BYTES
    return { revisions: this.#revisions, bytes: this.#inlineBytes + logBytes }
  }

  close(): void {
    this.#log.close()
  }
}
