/**
 * Reads a ZBigArray: the file with its data, and how to interpret it as an array.
 * State: its attributes, `_dtype`, `_shape`, `_stridev`, `_order` (later versions) and `zfile`, as a dict or as
 * `(dict, dict of slots)`. Source: wendelin.core, bigarray/array_zodb.py; numpy's dtype.__reduce__.
 */
import type { Connection } from '../objects/connection.ts'
import { entry, ByteString, Global, Opaque, Ref, Tuple, type PickleValue } from '../objects/pickle/value.ts'
import { decodeRecord } from '../objects/record.ts'
import { ObjectNotFoundError } from '../../store/errors.ts'
import type { Oid } from '../../store/ids.ts'
import { ZBigFile } from '../zblk/zbigfile.ts'

export const ZBIGARRAY = 'wendelin.bigarray.array_zodb.ZBigArray'

export interface ForeignArray {
  /** The file with its data. */
  readonly zfile: Ref
  /**
   * The argument of `numpy.dtype(...)`: `<f8`, or for a structured type JSON with `names`, `formats`, `offsets` and
   * `itemsize`. Absent for types that are not supported here.
   */
  readonly dtype?: string
  readonly shape?: readonly number[]
  /** In bytes. */
  readonly strides?: readonly number[]
  /** 'C' or 'F'. */
  readonly order: string
}

/** Reads a ZBigArray. @throws ObjectNotFoundError; CorruptRecordError if it refers to no file. */
export async function readArray(connection: Connection, oid: Oid): Promise<ForeignArray> {
  const [revision] = await connection.records.load([oid])
  if (revision === undefined) throw new ObjectNotFoundError(oid, connection.at)
  const { state } = decodeRecord(revision.record, oid, revision.tid)
  const dictionaries = (state instanceof Tuple ? state.items : [state]).filter(item => item instanceof Map)
  const attribute = (name: string): PickleValue =>
    dictionaries.map(dictionary => entry(dictionary, name)).find(value => value !== undefined) ?? null
  const zfile = attribute('zfile')
  if (!(zfile instanceof Ref) || zfile.className !== ZBigFile.CLASS_NAME)
    throw connection.corrupt(oid, 'a ZBigArray has no zfile')
  const dtype = describeType(attribute('_dtype'), 0, { left: MAX_TYPES })
  const shape = integers(attribute('_shape'))
  const strides = integers(attribute('_stridev'))
  return {
    zfile,
    ...(dtype !== undefined && { dtype: typeof dtype === 'string' ? dtype : JSON.stringify(dtype) }),
    ...(shape !== undefined && { shape }),
    ...(strides !== undefined && { strides }),
    order: text(attribute('_order')) ?? 'C',
  }
}

/** A numpy type: its code, or the fields of a structured one. */
type TypeDescription =
  | string
  | {
      readonly names: readonly string[]
      readonly formats: readonly TypeDescription[]
      readonly offsets: readonly number[]
      readonly itemsize: number
    }

const MAX_DEPTH = 16
/** Maximum number of types within a type, counting each use: a pickle can use one many times. */
const MAX_TYPES = 1000

/** `dtype(code, False, True)` with the state `(version, byte order, subtype, names, fields, itemsize, ...)`. */
function describeType(
  value: PickleValue,
  depth: number,
  budget: { left: number },
): TypeDescription | undefined {
  if (!(value instanceof Opaque) || depth > MAX_DEPTH || budget.left-- <= 0) return undefined
  const { callable, args, state } = value
  if (!(callable instanceof Global) || callable.name !== 'dtype' || !(args instanceof Tuple)) return undefined
  const code = text(args.items[0])
  const [, order, subtype, names, fields, itemsize] = state instanceof Tuple ? state.items : []
  if (code === undefined || (subtype !== undefined && subtype !== null)) return undefined
  if (names === undefined || names === null) {
    const prefix = text(order) ?? '|'
    return `${'<>|='.includes(prefix) ? prefix : '|'}${code}`
  }
  if (!(names instanceof Tuple) || !(fields instanceof Map) || typeof itemsize !== 'number') return undefined
  const formats: TypeDescription[] = []
  const offsets: number[] = []
  const known: string[] = []
  for (const item of names.items) {
    const name = text(item)
    const field = name === undefined ? undefined : entry(fields, name)
    const [type = null, off] = field instanceof Tuple ? field.items : []
    const format = describeType(type, depth + 1, budget)
    if (name === undefined || format === undefined || typeof off !== 'number') return undefined
    known.push(name)
    formats.push(format)
    offsets.push(off)
  }
  return { names: known, formats, offsets, itemsize }
}

function integers(value: PickleValue): number[] | undefined {
  const items = value instanceof Tuple ? value.items : Array.isArray(value) ? value : undefined
  return items?.every(item => typeof item === 'number') === true ? (items as number[]) : undefined
}

function text(value: PickleValue | undefined): string | undefined {
  if (value instanceof ByteString) return value.latin1
  return typeof value === 'string' ? value : undefined
}
