/**
 * What the last pack has kept, if it came to its end, as a note of the index. The next one can tell by it, without a mark, that
 * there is nothing to drop: both keep the same if the later history begins with the same state, no transaction lying between
 * both beginnings, and if no earlier moment was released.
 *
 * | the note      | means                                                       |
 * |---------------|-------------------------------------------------------------|
 * | absent        | there was no pack: nothing was dropped yet                  |
 * | moments       | nothing is left that these do not need                      |
 * | {@link VOID}  | a pack was interrupted, or a repair has changed what is there |
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
