/**
 * Finds what can be reached from the root object through any kept revision of the objects on the way. That is a
 * little more than the kept moments need (an object may be reached by a way that no moment shows as a whole), simple, and safe.
 *
 * The objects found and those still to be looked into are two bitmaps, so that memory stays small however many there
 * are. They are looked into in the order of their oids, round after round, as neighbours lie together in the
 * database. Blocks and chunks of data, nearly all objects there are, lead nowhere and are not read.
 */
import { StoreError } from '../../store/errors.ts'
import { ROOT_OID, type Oid, type Tid } from '../../store/ids.ts'
import { KeptRevisions, type KeptMoments } from '../../store/kept-moments.ts'
import type { PackReader } from '../../store/sqlite/pack/pack-reader.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { references, ZBLK0, ZDATA } from '../objects/record.ts'

/** What is called between objects; what it waits for is waited for. */
export type Pause = (objectsDone: number) => Promise<void> | undefined

/**
 * The objects that are reached by way of the revisions up to `upTo`. The caller closes the bitmap.
 * @throws CorruptRecordError for a record that cannot be read: what it refers to is not known.
 */
export async function mark(
  reader: PackReader,
  kept: KeptMoments,
  upTo: Tid,
  pause: Pause = () => undefined,
): Promise<PagedBitmap> {
  if (reader.entriesOf(ROOT_OID, upTo).next().done === true)
    throw new StoreError('the database has no root object, so nothing in it can be told from garbage')
  const reached = new PagedBitmap()
  const waiting = new PagedBitmap()
  try {
    reached.add(ROOT_OID)
    waiting.add(ROOT_OID)
    let end = ROOT_OID + 1
    let done = 0
    for (;;) {
      const first = waiting.find(true, 0, end)
      if (first === end) return reached
      for (let oid = first; oid < end; oid = waiting.find(true, oid + 1, end)) {
        waiting.delete(oid)
        for (const reference of referencesOf(reader, kept, oid, upTo)) {
          if (!reached.add(reference.oid) || isData(reference.className)) continue
          waiting.add(reference.oid)
          end = Math.max(end, reference.oid + 1)
        }
        await pause(++done)
      }
    }
  } catch (error) {
    reached.close()
    throw error
  } finally {
    waiting.close()
  }
}

const isData = (className: string): boolean => className === ZDATA || className === ZBLK0

function* referencesOf(
  reader: PackReader,
  kept: KeptMoments,
  oid: number,
  upTo: Tid,
): Generator<{ readonly oid: Oid; readonly className: string }> {
  const revisions = new KeptRevisions(kept)
  for (const { tid, isMissing } of reader.entriesOf(oid, upTo)) {
    if (!revisions.sees(oid, tid) || isMissing) continue
    const record = reader.record(oid, tid)
    if (record !== undefined) yield* references(record, oid as Oid, tid as Tid)
  }
}
