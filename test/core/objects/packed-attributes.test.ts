import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { PACKED, packed, unpackInto } from '../../../core/objects/packed-attributes.ts'
import { ByteString, type PickleValue } from '../../../core/objects/pickle/value.ts'

const COUNTS = ['mode', 'uid', 'gid', 'nlink', 'size', 'rdev', 'stored']
const TIMES = ['atime', 'mtime', 'ctime', 'birthtime']

const shortest = (value: bigint): number | bigint =>
  Number.isSafeInteger(Number(value)) ? Number(value) : value
const count = fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }).map(shortest)
const time = fc.bigInt({ min: -(1n << 93n), max: 1n << 93n }).map(shortest)
const inode = fc.record(
  Object.fromEntries([...COUNTS.map(key => [key, count]), ...TIMES.map(key => [key, time])]) as Record<
    string,
    fc.Arbitrary<number | bigint>
  >,
)

function unpacked(value: PickleValue): Map<string, PickleValue> | undefined {
  const entries = new Map<string, PickleValue>()
  return unpackInto(value, entries) ? entries : undefined
}

test('every number of an inode survives packing, and other values stay entries', () => {
  fc.assert(
    fc.property(inode, numbers => {
      const entries = new Map<string, PickleValue>([
        ...Object.entries(numbers),
        ['name', new ByteString('n')],
      ])
      const made = packed(entries)
      expect([...made.keys()]).toEqual([PACKED, 'name'])
      expect(unpacked(made.get(PACKED) ?? null)).toEqual(new Map(Object.entries(numbers)))
    }),
  )
})

test('a new file takes 23 bytes', () => {
  const now = 1_800_000_000_123_456_789n
  const numbers = { mode: 0o100644, uid: 0, gid: 0, nlink: 1, size: 300, rdev: 0, stored: 4096 }
  const times = Object.fromEntries(TIMES.map(key => [key, now]))
  const made = packed(new Map(Object.entries({ ...numbers, ...times })))
  expect((made.get(PACKED) as ByteString).latin1).toHaveLength(23)
})

test.each([
  ['a number is missing', (entries: Map<string, PickleValue>) => entries.delete('gid')],
  ['a number is negative', (entries: Map<string, PickleValue>) => entries.set('size', -1)],
  ['a number is text', (entries: Map<string, PickleValue>) => entries.set('uid', 'root')],
  ['a time is missing', (entries: Map<string, PickleValue>) => entries.delete('atime')],
  ['the modification time is text', (entries: Map<string, PickleValue>) => entries.set('mtime', 'now')],
])('a mapping is stored as it is if %s', (_, change) => {
  const entries = new Map<string, PickleValue>([...COUNTS, ...TIMES].map(key => [key, 1]))
  change(entries)
  expect(packed(entries)).toEqual(entries)
})

test('a damaged string is refused', () => {
  const entries = new Map<string, PickleValue>([...COUNTS, ...TIMES].map(key => [key, 1_000]))
  const { latin1 } = packed(entries).get(PACKED) as ByteString
  for (const text of [latin1.slice(0, -1), `${latin1}\0`, '', '\x80'.repeat(40)])
    expect(unpacked(new ByteString(text))).toBeUndefined()
  expect(unpacked(7)).toBeUndefined()
})
