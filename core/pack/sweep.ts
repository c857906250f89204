/**
 * Tells, revision by revision, what stays: what a kept moment sees of an object that is reached. What was changed
 * after the marking began stays whole, as it was reached then or is new.
 */
import type { Tid } from '../../store/ids.ts'
import { KeptRevisions, type KeptMoments } from '../../store/kept-moments.ts'
import type { RevisionEntry } from '../../store/sqlite/pack/pack-reader.ts'
import type { PagedBitmap } from '../../store/paged-bitmap.ts'

export interface Judged {
  readonly entry: RevisionEntry
  readonly stays: boolean
  /** Nothing reaches its object. */
  readonly isUnreached: boolean
}

/**
 * Judges `entries`, which come in the order of oids, of each oid the latest first.
 * @param reached what {@link mark} gave, for revisions up to `markedUpTo`.
 */
export function* judge(
  entries: Iterable<RevisionEntry>,
  kept: KeptMoments,
  reached: PagedBitmap,
  markedUpTo: Tid,
): Generator<Judged> {
  const revisions = new KeptRevisions(kept)
  let oid = -1
  let isUnreached = false
  /** The latest revisions say that the object was not there; without an older one they are not needed. */
  let absences: RevisionEntry[] = []
  for (const entry of entries) {
    if (entry.oid !== oid) {
      yield* absences.map(entry => ({ entry, stays: false, isUnreached }))
      absences = []
      oid = entry.oid
      isUnreached = entry.tid <= markedUpTo && !reached.has(oid)
    }
    const stays = revisions.sees(oid, entry.tid) && !isUnreached
    if (stays && entry.isMissing && entry.tid <= kept.from) {
      absences.push(entry)
      continue
    }
    if (stays) {
      yield* absences.map(entry => ({ entry, stays, isUnreached }))
      absences = []
    }
    yield { entry, stays, isUnreached }
  }
  yield* absences.map(entry => ({ entry, stays: false, isUnreached }))
}
