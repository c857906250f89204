/**
 * The moments kept by the last completed pack, as a note of the index. With it the next pack can decide without a mark that
 * there is nothing to drop: both keep the same revisions if their histories begin with the same state (no transaction
 * between the two beginnings) and no earlier moment was released.
 *
 * | the note      | means                                                       |
 * |---------------|-------------------------------------------------------------|
 * | absent        | no pack has run: nothing was dropped yet                    |
 * | moments       | every remaining revision is needed by these                 |
 * | {@link VOID}  | a pack was interrupted, or a repair has changed the database |
 */
import { isKept, type KeptMoments } from '../../kept-moments.ts'
import { parseKeptMoments } from '../kept-moments-note.ts'
import type { PackSource } from './pack-source.ts'

export const PACKED = 'packed'
export const VOID = ''

/** Whether a pack that keeps these moments would drop nothing. */
export async function isPacked(reader: PackSource, kept: KeptMoments): Promise<boolean> {
  const note = await reader.note(PACKED)
  if (note === VOID) return false
  const done = parseKeptMoments(note)
  if (done.from > kept.from || !done.earlier.every(moment => isKept(kept, moment))) return false
  const { revisions } = await reader.added(done.from, kept.from)
  return revisions === 0
}

/** Whether every moment that is kept now was kept before. */
export const isReleased = (before: KeptMoments, now: KeptMoments): boolean =>
  before.from <= now.from && now.earlier.every(moment => isKept(before, moment))
