/**
 * Records that zc.zlibstorage wrote: `.z`, then a zlib stream of the record. No pickle begins with `.`, which is the
 * opcode STOP, so a plain record is never mistaken for one. ZODB's own storages and RelStorage store such a record
 * unchanged. Source: zc.zlibstorage, `decompress`.
 */
import { inflate as inflateCallback, inflateSync } from 'node:zlib'
import { promisify } from 'node:util'
import { CorruptRecordError, systemCode } from './errors.ts'
import type { Oid, Tid } from './ids.ts'

const inflate = promisify(inflateCallback)

const DOT = 0x2e
const LETTER_Z = 0x7a
export const COMPRESSED_PREFIX_LENGTH = 2

/** Maximum length of an inflated record, in bytes: a stream of 64 KiB can expand to this. */
const MAX_INFLATED_BYTES = 64 << 20

/** Streams up to this length are inflated on this thread: they expand to 4 MiB at most, and usually hold a 4 KiB chunk. */
const MAX_SYNC_BYTES = 4096

/** Whether a record that begins with these bytes is compressed. */
export const isCompressed = (start: Uint8Array): boolean => start[0] === DOT && start[1] === LETTER_Z

/**
 * Inflates a stored record.
 * @throws CorruptRecordError if it is not a zlib stream, or is longer than {@link MAX_INFLATED_BYTES}.
 */
export async function inflateRecord(stored: Uint8Array, oid: Oid, tid: Tid): Promise<Uint8Array> {
  if (!isCompressed(stored)) return stored
  const stream = stored.subarray(COMPRESSED_PREFIX_LENGTH)
  const options = { maxOutputLength: MAX_INFLATED_BYTES }
  try {
    return stream.length <= MAX_SYNC_BYTES ? inflateSync(stream, options) : await inflate(stream, options)
  } catch (error) {
    const isTooLong = systemCode(error) === 'ERR_BUFFER_TOO_LARGE'
    const reason = isTooLong
      ? `it is compressed and longer than ${MAX_INFLATED_BYTES} bytes`
      : 'its zlib stream cannot be inflated'
    throw new CorruptRecordError(oid, tid, reason, { cause: error })
  }
}
