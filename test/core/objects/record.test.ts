import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import {
  ByteString,
  Global,
  Opaque,
  Ref,
  Tuple,
  type PickleValue,
} from '../../../core/objects/pickle/value.ts'
import { decodeBucket } from '../../../core/objects/record-bucket.ts'
import {
  classOfRecord,
  DATA_HEAD_MAX,
  dataPosition,
  decodeData,
  decodeRecord,
  encodeData,
  encodeRecord,
  references,
  ZBLK0,
  ZDATA,
} from '../../../core/objects/record.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import { oid, tid } from '../../../store/ids.ts'
import { readFileStorage, recordsOf } from '../../tools/file-storage-reader.ts'
import { FIXTURES } from '../../tools/record-fixtures.ts'

const OID = oid(0x2a)
const TID = tid(1n)
const decode = (bytes: Uint8Array) => decodeRecord(bytes, OID, TID)
const latin1 = (text: string) => Buffer.from(text, 'latin1')
const CHUNK = latin1(`\x80\x03c${ZDATA.replace('.ZData', '\nZData')}\nq\x00.\x80\x03C\x03abcq\x01.`)

/** The number of objects of each class that each of wendelin.core's own databases has. */
const UPSTREAM_COUNTS = {
  'persistent.mapping.PersistentMapping': 2,
  'wendelin.bigfile.file_zodb.ZBigFile': 1,
  [ZBLK0]: 1,
  'wendelin.bigfile.file_zodb.ZBlk1': 1,
  'BTrees.IOBTree.IOBTree': 1,
  'BTrees.IOBTree.IOBucket': 2,
  'BTrees.LOBTree.LOBTree': 1,
  [ZDATA]: 64,
}

describe.each(FIXTURES)('records of $name', ({ path, missing }) => {
  it.skipIf(missing)('all decode, and tell their class, data and references without it too', () => {
    for (const { data } of recordsOf(path)) {
      const { className, state } = decode(data)
      expect(classOfRecord(data)).toBe(className)
      expect(references(data, OID, TID)).toEqual(refsIn(state))
      if (className === ZDATA || className === ZBLK0) {
        expect(Buffer.compare(decodeData(data, OID, TID), state as Uint8Array)).toBe(0)
        const { off, len } = dataPosition(data.subarray(0, DATA_HEAD_MAX), data.length, OID, TID)
        expect(Buffer.compare(data.subarray(off, off + len), state as Uint8Array)).toBe(0)
      } else expect(() => decodeData(data, OID, TID)).toThrow(CorruptRecordError)
    }
  })
})

describe.each(FIXTURES.filter(({ writtenBy }) => writtenBy === 'python3'))(
  'records of $name',
  ({ path, missing }) => {
    it.skipIf(missing)('are the same bytes again when they are encoded', () => {
      let count = 0
      for (const { data } of recordsOf(path)) {
        const { className, state } = decode(data)
        const encoded = encodeRecord(className, state)
        if (Buffer.compare(encoded, data) !== 0) expect(encoded).toEqual(data)
        if (className === ZDATA || className === ZBLK0) {
          const { head, body, tail } = encodeData(className, state as Uint8Array)
          expect(Buffer.compare(Buffer.concat([head, body, tail]), data)).toBe(0)
        }
        count++
      }
      expect(count).toBeGreaterThan(70)
    })
  },
)

describe.each(FIXTURES.filter(({ writtenBy }) => writtenBy === 'python2'))(
  'records of $name',
  ({ path, missing }) => {
    it.skipIf(missing)('have the same states as those that Python 3 wrote', () => {
      const python3 = FIXTURES.find(({ name }) => name === 'py3_pickle3')!
      const theirs = [...recordsOf(python3.path)].map(({ oid, data }) => [oid, plain(decode(data).state)])
      expect([...recordsOf(path)].map(({ oid, data }) => [oid, plain(decode(data).state)])).toEqual(theirs)
    })
  },
)

it.skipIf(FIXTURES.some(({ missing }) => missing)).each(FIXTURES.filter(({ name }) => name.startsWith('py')))(
  'the wendelin.core database $name has the expected objects',
  ({ path }) => {
    const counts: Record<string, number> = {}
    for (const { data } of recordsOf(path)) {
      const { className } = decode(data)
      counts[className] = (counts[className] ?? 0) + 1
    }
    expect(counts).toEqual(UPSTREAM_COUNTS)
    const last = [...readFileStorage(path)].at(-1)!
    const block = last.records.find(({ oid }) => oid === 2n)!.data!
    expect(
      createHash('sha256')
        .update(decodeData(block, OID, TID))
        .digest('hex'),
    ).toBe('f3641a1e67168de9eab1170abc1f5c75d75bd7720ea7f57b7b065c17cafc8745')
  },
)

describe('a class is read', () => {
  it.each([
    ['as itself', 'cm.n\nC\nq\x01.'],
    ['as (class, None)', '(cm.n\nC\nq\x01Ntq\x02.'],
    ['as ((module, name), args)', '\x80\x02U\x03m.nU\x01C\x86)\x86.'],
    ['as ((module, name), args) in text', '\x80\x03X\x03\x00\x00\x00m.nX\x01\x00\x00\x00C\x86N\x86.'],
  ])('%s', (_, pickle) => {
    expect(decode(latin1(`${pickle}K\x07.`))).toEqual({ className: 'm.n.C', state: 7 })
    expect(classOfRecord(latin1(pickle))).toBe('m.n.C')
  })

  it('as ZBlk0 where early data says ZBlk', () => {
    const record = latin1('\x80\x02cwendelin.bigfile.file_zodb\nZBlk\nq\x01.\x80\x02U\x02hiq\x02.')
    expect(classOfRecord(record)).toBe(ZBLK0)
    expect(dataPosition(record, record.length, OID, TID)).toEqual({ className: ZBLK0, off: 42, len: 2 })
    const old = new Ref(oid(5), 'wendelin.bigfile.file_zodb.ZBlk')
    const bucket = encodeRecord('BTrees.LOBTree.LOBucket', new Tuple([new Tuple([7, old])]))
    expect(references(bucket, OID, TID)).toEqual([new Ref(oid(5), ZBLK0)])
    expect(decodeBucket(bucket, OID, TID).classNames).toEqual([ZBLK0])
  })

  it.each(['', '.', 'K\x01.', 'cm\n\nq\x00.', ')K\x01\x86.', '\x80\x04cm\nC\n.'])(
    'as none where a record begins with %j',
    pickle => {
      expect(classOfRecord(latin1(pickle))).toBe('')
      expect(() => decode(latin1(`${pickle}N.`))).toThrow(CorruptRecordError)
    },
  )
})

describe('data', () => {
  it('is a view of its record', () => {
    const data = decodeData(CHUNK, OID, TID)
    expect(data.buffer).toBe(CHUNK.buffer)
    expect(Buffer.from(data).toString()).toBe('abc')
  })

  it.each([0, 1, 255, 256, 4096, 65_536, 2 ** 21])(
    'of %i bytes is found from the head of its record',
    len => {
      for (const className of [ZDATA, ZBLK0] as const) {
        const { head, body, tail } = encodeData(className, Buffer.alloc(len, 7))
        const record = Buffer.concat([head, body, tail])
        expect(dataPosition(record.subarray(0, 64), record.length, OID, TID)).toEqual({
          className,
          off: head.length,
          len,
        })
        expect(Buffer.compare(encodeRecord(className, body), record)).toBe(0)
      }
    },
  )

  it('beyond 4 GiB is refused', () => {
    const data = { length: 2 ** 32 } as unknown as Uint8Array
    expect(() => encodeData(ZDATA, data)).toThrow(RangeError)
  })

  it.each([
    ['cut in its data', CHUNK.subarray(0, -4)],
    ['without its end', CHUNK.subarray(0, -1)],
    ['with something behind it', Buffer.concat([CHUNK, latin1('.')])],
    ['with a damaged end', Buffer.concat([CHUNK.subarray(0, -3), latin1('h\x01.')])],
    ['with a number for data', latin1(`c${ZDATA.replace('.ZData', '\nZData')}\n.K\x01.`)],
    ['with a huge length', latin1(`c${ZDATA.replace('.ZData', '\nZData')}\n.B\xff\xff\xff\xff.`)],
    ['of another class', encodeRecord('m.C', null)],
  ])('is not found in a record %s', (_, record) => {
    expect(() => decodeData(record, OID, TID)).toThrow(CorruptRecordError)
    expect(() => dataPosition(record, record.length, OID, TID)).toThrow(CorruptRecordError)
  })
})

describe('references', () => {
  it('are listed for an unknown class, with new objects, in order', () => {
    const record = latin1(
      '\x80\x02cm\nUnknown\nq\x01.\x80\x02}q\x02(' +
        'U\x01acos\nsystem\nU\x02id\x85RU\x08\x00\x00\x00\x00\x00\x00\x00\x05cm\nA\n\x86Qb' +
        'U\x01bU\x08\x00\x00\x00\x00\x00\x00\x00\x06Q' +
        'U\x01c]U\x01wU\x08\x00\x00\x00\x00\x00\x00\x00\x07\x85\x86aQu.',
    )
    expect(references(record, OID, TID)).toEqual([new Ref(oid(5), 'm.A'), new Ref(oid(6), '')])
  })

  it('are listed where it is not known what class it is', () => {
    const record = latin1('K\x01K\x02K\x03\x87.U\x08\x00\x00\x00\x00\x00\x00\x00\x05Q.')
    expect(references(record, OID, TID)).toEqual([new Ref(oid(5), '')])
    expect(classOfRecord(record)).toBe('')
  })

  it.each([
    ['an oid of 7 bytes', 'U\x07\x00\x00\x00\x00\x00\x00\x01Q.'],
    ['an oid from 2^53 on', 'U\x08\x00\x20\x00\x00\x00\x00\x00\x00Q.'],
    ['an oid that is a number', 'K\x01Q.'],
  ])('with %s are damage', (_, state) => {
    expect(() => references(latin1(`cm\nC\n.${state}`), OID, TID)).toThrow(CorruptRecordError)
    expect(() => decode(latin1(`cm\nC\n.${state}`))).toThrow(CorruptRecordError)
  })
})

it.each<[string, PickleValue]>([
  ['C', null],
  ['m.', null],
  ['.C', null],
  ['m.C', 1.5],
  ['m.C', Number.NaN],
  ['m.C', 2 ** 53],
  ['m.C', new Opaque(new Global('os', 'system'), new Tuple([]))],
  ['m.C', new Ref(OID, 'C')],
])('a record of the class %j with the state %o is not written', (className, state) => {
  expect(() => encodeRecord(className, state)).toThrow(TypeError)
})

it('an error names the object, the transaction and the reason', () => {
  expect(() => decodeRecord(latin1('x'), oid(0x2a), tid(0x3fn))).toThrow(
    /000000000000002a .*000000000000003f .*opcode 0x78/,
  )
})

it('the state may refer to the class through the shared memo', () => {
  const record = latin1('cm\nC\nq\x00.\x80\x03h\x00.')
  expect(decode(record).state).toEqual(new Global('m', 'C'))
})

/** A state with every way to write a byte string or reference made the same. */
function plain(value: PickleValue): unknown {
  if (value instanceof Tuple) return value.items.map(plain)
  if (value instanceof Map)
    return Object.fromEntries([...value].map(([key, item]) => [textOf(key), plain(item)]))
  if (value instanceof Uint8Array) return createHash('sha256').update(value).digest('hex')
  return value
}

const textOf = (key: PickleValue): string => (key instanceof ByteString ? key.latin1 : (key as string))

function refsIn(value: PickleValue): Ref[] {
  if (value instanceof Ref) return [value]
  if (value instanceof Tuple) return value.items.flatMap(refsIn)
  if (value instanceof Map) return [...value.values()].flatMap(refsIn)
  return []
}
