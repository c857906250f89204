import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Ref, Tuple, type PickleValue } from '../../../core/objects/pickle/value.ts'
import { decodeBucket, type BucketEntries } from '../../../core/objects/record-bucket.ts'
import { decodeRecord, encodeRecord } from '../../../core/objects/record.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import { oid, tid } from '../../../store/ids.ts'
import { recordsOf } from '../../tools/file-storage-reader.ts'
import { FIXTURES } from '../../tools/record-fixtures.ts'

const OID = oid(1)
const TID = tid(1n)
const IO = 'BTrees.IOBTree.IOBucket'
const LO = 'BTrees.LOBTree.LOBucket'
const decode = (bytes: Uint8Array): BucketEntries => decodeBucket(bytes, OID, TID)

/** What the general reader makes of a bucket's record. */
function byTheGeneralReader(bytes: Uint8Array): BucketEntries {
  const [flat, next] = (decodeRecord(bytes, OID, TID).state as Tuple).items
  const { items } = flat as Tuple
  const refs = items.filter(item => item instanceof Ref)
  return {
    keys: items.filter(item => typeof item === 'number'),
    oids: refs.map(ref => ref.oid),
    classNames: refs.map(ref => ref.className),
    next: (next as Ref | undefined)?.oid,
  }
}

const someRef = fc
  .tuple(fc.nat({ max: 2 ** 31 }), fc.nat({ max: 2 ** 20 }), fc.constantFrom('m.A', 'm.B', 'm.C', IO, LO))
  .map(([low, high, className]) => new Ref(oid(low + high * 2 ** 32), className))
const someBucket = fc
  .record({
    className: fc.constantFrom(IO, LO),
    entries: fc.array(fc.tuple(fc.maxSafeInteger(), someRef), { maxLength: 150 }),
    next: fc.option(someRef),
  })
  .map(({ className, entries, next }) => {
    const flat = new Tuple(entries.flat<PickleValue[]>())
    return encodeRecord(className, new Tuple(next === null ? [flat] : [flat, next]))
  })

describe.each(FIXTURES)('buckets of $name', ({ path, missing }) => {
  it.skipIf(missing)('hold what the general reader finds in them, and other records are none', () => {
    let count = 0
    for (const { data } of recordsOf(path)) {
      if (!decodeRecord(data, OID, TID).className.endsWith('Bucket'))
        expect(() => decode(data)).toThrow(CorruptRecordError)
      else {
        expect(decode(data)).toEqual(byTheGeneralReader(data))
        count++
      }
    }
    expect(count).toBeGreaterThan(1)
  })
})

it('any written bucket reads equally with both readers', () => {
  fc.assert(
    fc.property(someBucket, bytes => {
      expect(decode(bytes)).toEqual(byTheGeneralReader(bytes))
    }),
  )
})

it('a damaged bucket is refused or reads equally with both readers', () => {
  fc.assert(
    fc.property(someBucket, fc.nat(), fc.nat({ max: 255 }), (bytes, at, byte) => {
      bytes[at % bytes.length] = byte
      let entries: BucketEntries
      try {
        entries = decode(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptRecordError)
        return
      }
      expect(entries).toEqual(byTheGeneralReader(bytes))
    }),
    { numRuns: 2000 },
  )
})

it('a bucket cut anywhere is refused', () => {
  const flat = new Tuple([1, new Ref(oid(7), 'm.A'), 2, new Ref(oid(8), 'm.A')])
  const bytes = encodeRecord(IO, new Tuple([flat, new Ref(oid(9), IO)]))
  for (let len = 0; len < bytes.length; len++)
    expect(() => decode(bytes.subarray(0, len))).toThrow(CorruptRecordError)
})

it.each<[string, PickleValue]>([
  ['None', null],
  ['without a tuple of entries', new Tuple([1])],
  ['with a text as key', new Tuple([new Tuple(['k', new Ref(OID, 'm.A')])])],
  ['with a number as value', new Tuple([new Tuple([1, 2])])],
  ['with half an entry', new Tuple([new Tuple([1])])],
  ['followed by a number', new Tuple([new Tuple([]), 1])],
])('a state %s is not a bucket', (_, state) => {
  expect(() => decode(encodeRecord(IO, state))).toThrow(CorruptRecordError)
})
