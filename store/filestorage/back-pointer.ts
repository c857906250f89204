/** Follows the back pointers of an indirect record to the record that holds its data. */
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

/** Maximum length of a chain. An undo of an undo makes a chain of two. */
const MAX_CHAIN = 1000

/**
 * The position and length of the record that holds the data of the indirect record at `pos`; undefined if the
 * object does not exist. Pointers must lead strictly backwards, so there are no loops.
 * @throws CorruptRecordError if a pointer does not lead to an earlier record of the object.
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
    if (header.oid !== oid) throw damage(`there is no record of it at byte ${at}`)
    if (header.length > 0) return { pos: at, length: header.length }
    const back = readPosition(bytes, RECORD_HEADER_LENGTH)
    if (back === 0) return undefined
    if (back >= at || back < MAGIC_LENGTH)
      throw damage(`the back pointer at byte ${at} leads to byte ${back}`)
    at = back
  }
  throw damage(`its chain of back pointers is longer than ${maxChain}`)
}
