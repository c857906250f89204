import * as fc from 'fast-check'
import { expect, it } from 'vitest'
import {
  ByteString,
  Float,
  Global,
  Opaque,
  Ref,
  Tuple,
  type PickleValue,
} from '../../../core/objects/pickle/value.ts'
import { decodeBucket } from '../../../core/objects/record-bucket.ts'
import {
  classOfRecord,
  dataPosition,
  decodeData,
  decodeRecord,
  encodeRecord,
  references,
} from '../../../core/objects/record.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import { oid, tid } from '../../../store/ids.ts'
import { recordsOf } from '../../tools/file-storage-reader.ts'
import { FIXTURES } from '../../tools/record-fixtures.ts'

const OID = oid(1)
const TID = tid(1n)
/** FC_RUNS=100000 fuzzes longer. */
const numRuns = Number(process.env['FC_RUNS'] ?? 3000)

/** The result of a reading, or undefined where it reports damage; any other failure is the test's. */
function orDamaged<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof CorruptRecordError) return undefined
    throw error
  }
}

/** Reads a record in every way there is and checks what comes out. */
function readEveryWay(bytes: Uint8Array): void {
  expect(typeof classOfRecord(bytes)).toBe('string')
  const record = orDamaged(() => decodeRecord(bytes, OID, TID))
  const refs = orDamaged(() => references(bytes, OID, TID))
  const data = orDamaged(() => decodeData(bytes, OID, TID))
  const bucket = orDamaged(() => decodeBucket(bytes, OID, TID))
  for (const len of [0, 30, 64]) orDamaged(() => dataPosition(bytes.subarray(0, len), bytes.length, OID, TID))
  if (data !== undefined) expect(record?.state).toEqual(data)
  if (bucket !== undefined) expect(bucket.oids).toHaveLength(bucket.keys.length)
  if (record === undefined) return
  expect(refs).toBeDefined()
  expect(classOfRecord(bytes)).toBe(record.className)
  checkTypes(record.state)
  try {
    const again = decodeRecord(encodeRecord(record.className, record.state), OID, TID)
    expect(again).toEqual(record)
  } catch (error) {
    // Of what is not a stock class, not all can be written.
    if (!(error instanceof TypeError)) throw error
  }
}

function checkTypes(value: PickleValue): void {
  if (value instanceof Ref) expect(Number.isSafeInteger(value.oid)).toBe(true)
  else if (value instanceof Tuple) value.items.forEach(checkTypes)
  else if (Array.isArray(value)) value.forEach(checkTypes)
  else if (value instanceof Map) for (const [key, item] of value) [key, item].forEach(checkTypes)
  else if (value instanceof Opaque) {
    const { callable, args, state, items, entries } = value
    for (const part of [callable, args, state, ...items, ...entries.flat()]) checkTypes(part)
  } else if (typeof value === 'number') expect(Number.isSafeInteger(value)).toBe(true)
  else if (typeof value === 'bigint') expect(Number.isSafeInteger(Number(value))).toBe(false)
  else if (value !== null && typeof value === 'object')
    expect([Uint8Array, Buffer, ByteString, Float, Global].some(type => value instanceof type)).toBe(true)
  else expect(['string', 'boolean', 'object']).toContain(typeof value)
}

/** Short records of every flavour, one of each class and length. */
const samples = [
  ...new Map(
    FIXTURES.filter(({ missing }) => !missing)
      .flatMap(({ path }) => [...recordsOf(path)])
      .filter(({ data }) => data.length < 2000)
      .map(({ data }) => [`${data.length} ${classOfRecord(data)}`, data]),
  ).values(),
]
const someSample = fc.constantFrom(...samples)

it('the fixtures contain records', () => {
  expect(samples.length).toBeGreaterThan(10)
})

it('random bytes are reported as damage', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), readEveryWay), { numRuns })
})

it('random opcodes after a class are damage, or a state', () => {
  const opcodes = Buffer.from(
    '(.01BCGIJKLMNQRTUX]abcehjoqrstu}\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b)',
    'latin1',
  )
  const someByte = fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...opcodes) }, fc.nat({ max: 20 }))
  const head = Buffer.from('cm\nC\nq\x00.}q\x01K\x01cm\nA\n')
  const someProgram = fc
    .array(someByte, { maxLength: 60 })
    .map(codes => Buffer.from([...head, ...codes, 0x2e]))
  fc.assert(fc.property(someProgram, readEveryWay), { numRuns })
})

it('real records with damaged bytes are damage or have other states', () => {
  const someDamage = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 })
  fc.assert(
    fc.property(someSample, someDamage, (sample, damage) => {
      const bytes = Buffer.from(sample)
      for (const [at, byte] of damage) bytes[at % bytes.length] = byte
      readEveryWay(bytes)
    }),
    { numRuns },
  )
})

it('real records with pieces missing, doubled or exchanged are damage or have other states', () => {
  fc.assert(
    fc.property(someSample, someSample, fc.nat(), fc.nat(), (sample, other, from, to) => {
      const rest = other.subarray(to % other.length)
      readEveryWay(Buffer.concat([sample.subarray(0, from % sample.length), rest]))
    }),
    { numRuns },
  )
})

it('real records cut anywhere are damage', () => {
  for (const sample of samples.filter(({ length }) => length < 300))
    for (let len = 0; len < sample.length; len++) {
      expect(() => decodeRecord(sample.subarray(0, len), OID, TID)).toThrow(CorruptRecordError)
      expect(() => references(sample.subarray(0, len), OID, TID)).toThrow(CorruptRecordError)
    }
})

it('real records with trailing bytes are damage', () => {
  for (const sample of samples)
    for (const behind of ['.', '\0', 'N.'])
      expect(() => decodeRecord(Buffer.concat([sample, Buffer.from(behind)]), OID, TID)).toThrow(
        CorruptRecordError,
      )
})
