import { BulkDamageError, type BulkGap, type BulkRange, type BulkReader } from '../bulk.ts'
import { GROUP_BYTES, UNIT_BYTES } from '../frame.ts'

/**
 * BulkScan.verify by reading: a range is read as a whole, and unit by unit if that fails. Unless `everyByte` is set, it is read only
 * if its last unit cannot be read.
 */
export async function verifyByReading(
  bulk: BulkReader,
  [lo, hi]: BulkRange,
  everyByte: boolean,
): Promise<readonly BulkGap[]> {
  const memory = Buffer.allocUnsafeSlow(Math.min(hi - lo, GROUP_BYTES))
  const read = async (from: number, length: number): Promise<string | undefined> => {
    try {
      await bulk.read([{ pos: from, into: memory.subarray(0, length) }])
      return undefined
    } catch (error) {
      if (error instanceof BulkDamageError) return error.message
      throw error
    }
  }
  if (!everyByte && (await read(hi - UNIT_BYTES, UNIT_BYTES)) === undefined) return []
  if ((await read(lo, hi - lo)) === undefined) return []
  const gaps: BulkGap[] = []
  for (let at = lo; at < hi; at += UNIT_BYTES) {
    const reason = await read(at, UNIT_BYTES)
    if (reason !== undefined) gaps.push({ lo: at, hi: at + UNIT_BYTES, reason })
  }
  return gaps
}
