/**
 * Converts records of an external ZODB database to ours: the same states with other oids, and with class names and pickles
 * of Python 3. Only the classes of big files are copied; references to others are damage.
 */
import { IO, LO } from '../btree/kind.ts'
import { Ref, Tuple, type PickleValue } from '../objects/pickle/value.ts'
import {
  classOfRecord,
  currentClassName,
  dataPosition,
  decodeRecord,
  encodeRecord,
  ZBLK0,
  ZDATA,
} from '../objects/record.ts'
import { dataRecord } from '../zblk/data.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'
import { ZBlk1 } from '../zblk/zblk.ts'
import { CorruptRecordError } from '../../store/errors.ts'
import type { Oid, Tid } from '../../store/ids.ts'
import type { RecordSource } from '../../store/changes.ts'

const CLASSES: ReadonlySet<string> = new Set([
  ZBigFile.CLASS_NAME,
  ZBlk1.CLASS_NAME,
  ZBLK0,
  ZDATA,
  LO.tree,
  LO.bucket,
  IO.tree,
  IO.bucket,
])

/** Maximum number of values in a state, counting each use: a pickle can use one many times. */
const MAX_VALUES = 1_000_000

export interface RemappedRecord {
  readonly className: string
  readonly source: RecordSource
  /** The length of a block's or chunk's data; 0 for everything else. */
  readonly dataBytes: number
}

/**
 * @param remap returns the new oid of an object that the record refers to.
 * @throws CorruptRecordError, also for objects that are not part of a big file.
 */
export function remapRecord(
  record: Uint8Array,
  oid: Oid,
  tid: Tid,
  remap: (ref: Ref) => Oid,
): RemappedRecord {
  const className = classOfRecord(record)
  if (className === ZBLK0 || className === ZDATA) {
    const { off, len } = dataPosition(record, record.length, oid, tid)
    return { className, source: dataRecord(className, [record.subarray(off, off + len)]), dataBytes: len }
  }
  if (!CLASSES.has(className))
    throw new CorruptRecordError(oid, tid, `a ${className || 'record without a class'} is not part of a file`)
  const { state } = decodeRecord(record, oid, tid)
  let left = MAX_VALUES
  const translate = (value: PickleValue): PickleValue => {
    if (left-- <= 0) throw new CorruptRecordError(oid, tid, `its state has more than ${MAX_VALUES} values`)
    if (value instanceof Tuple) return new Tuple(value.items.map(translate))
    if (!(value instanceof Ref)) return value
    const target = currentClassName(value.className)
    if (!CLASSES.has(target))
      throw new CorruptRecordError(oid, tid, `it refers to a ${target || 'class without a name'}`)
    return new Ref(remap(value), target)
  }
  return { className, source: { head: encodeRecord(className, translate(state)) }, dataBytes: 0 }
}
