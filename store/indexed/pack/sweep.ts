/**
 * Decides which revisions to keep: those that a kept moment sees and whose object is marked. Objects that changed after
 * marking began keep all revisions: they were reachable then, or are new.
 */
import type { StoredRevision } from '../../stored-revisions.ts'
import { KeptRevisions, type KeptMoments } from '../../kept-moments.ts'
import type { PagedBitmap } from '../../paged-bitmap.ts'

export interface Judged {
  readonly entry: StoredRevision
  readonly stays: boolean
  /** Whether its object is not marked. */
  readonly isUnreached: boolean
}

/**
 * Judges `entries` (ordered by oid, then newest first), batch by batch.
 * @param reached the objects found by a Mark, as of `markedUpTo`.
 */
export async function* judge(
  entries: AsyncIterable<readonly StoredRevision[]>,
  kept: KeptMoments,
  reached: Pick<PagedBitmap, 'has'>,
  markedUpTo: bigint,
): AsyncGenerator<readonly Judged[]> {
  const revisions = new KeptRevisions(kept)
  let oid = -1
  let isUnreached = false
  /** The object's newest kept revisions while all are tombstones: they are dropped unless an older revision is kept. */
  let tombstones: StoredRevision[] = []
  for await (const batch of entries) {
    const judged: Judged[] = []
    const settle = (stays: boolean): void => {
      for (const entry of tombstones) judged.push({ entry, stays, isUnreached })
      tombstones = []
    }
    for (const entry of batch) {
      if (entry.oid !== oid) {
        settle(false)
        oid = entry.oid
        isUnreached = entry.tid <= markedUpTo && !reached.has(oid)
      }
      const stays = revisions.sees(oid, entry.tid) && !isUnreached
      if (stays && entry.isTombstone && entry.tid <= kept.from) {
        tombstones.push(entry)
        continue
      }
      if (stays) settle(true)
      judged.push({ entry, stays, isUnreached })
    }
    yield judged
  }
  yield tombstones.map(entry => ({ entry, stays: false, isUnreached }))
}
