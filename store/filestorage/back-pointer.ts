/** Follows the back pointers of a record without data of its own to the record that has the data. */
import { CorruptRecordError } from '../errors.ts'
import type { Oid, Tid } from '../ids.ts'
import {
  decodeRecordHeader,
  MAGIC_LENGTH,
  POINTER_LENGTH,
  readPosition,
  RECORD_HEADER_LENGTH,
} from './format.ts'
import { readFully } from './window.ts'

/** Longest chain that is followed. An undo of an undo makes one of two. */
const MAX_CHAIN = 1000

/**
 * The position and length of the record whose data the indirect record at `pos` has; undefined where it says
 * that the object does not exist. Pointers lead strictly backwards, so a loop cannot be followed.
 * @throws CorruptRecordError where a pointer does not lead to an earlier record of the object.
 */
export function followBackPointer(
  fd: number,
  oid: Oid,
  tid: Tid,
  pos: number,
  maxChain = MAX_CHAIN,
): { readonly pos: number; readonly length: number } | undefined {
  const bytes = Buffer.allocUnsafe(RECORD_HEADER_LENGTH + POINTER_LENGTH)
  const damage = (reason: string) => new CorruptRecordError(oid, tid, reason)
  let at = pos
  for (let depth = 0; depth < maxChain; depth++) {
    if (readFully(fd, bytes, at) < RECORD_HEADER_LENGTH) throw damage(`the file ends at byte ${at}`)
    const header = decodeRecordHeader(bytes, 0, at)
    if (header.oid !== oid) throw damage(`byte ${at} holds no record of it`)
    if (header.length > 0) return { pos: at, length: header.length }
    const back = readPosition(bytes, RECORD_HEADER_LENGTH)
    if (back === 0) return undefined
    if (back >= at || back < MAGIC_LENGTH)
      throw damage(`the back pointer at byte ${at} leads to byte ${back}`)
    at = back
  }
  throw damage(`more than ${maxChain} back pointers follow one another`)
}
