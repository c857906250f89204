import { execFileSync } from 'node:child_process'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeText } from '../../../core/objects/pickle/text.ts'
import {
  ByteString,
  Float,
  Global,
  Ref,
  Tuple,
  type PickleValue,
} from '../../../core/objects/pickle/value.ts'
import { decodeRecord, encodeRecord } from '../../../core/objects/record.ts'
import { oid, tid, knownOid } from '../../../store/ids.ts'

/** A Python that has zodbpickle: Debian's has, when the package is installed; another may come first in PATH. */
const PYTHON = ['python3', '/usr/bin/python3'].find(command => {
  try {
    execFileSync(command, ['-c', 'import zodbpickle'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** A value in the words of pickle-python.py. */
function describeValue(value: PickleValue): unknown {
  if (value === null || typeof value === 'boolean') return ['literal', value]
  if (typeof value === 'number' || typeof value === 'bigint') return ['int', `${value}`]
  if (typeof value === 'string') return ['str', hex(encodeText(value))]
  if (value instanceof ByteString) return ['bytes', hex(value.bytes)]
  if (value instanceof Uint8Array) return ['bytes', hex(value)]
  if (value instanceof Tuple) return ['tuple', value.items.map(describeValue)]
  if (Array.isArray(value)) return ['list', value.map(describeValue)]
  if (value instanceof Map)
    return ['dict', [...value].map(([key, item]) => [describeValue(key), describeValue(item)])]
  if (value instanceof Global) return ['class', value.className]
  if (value instanceof Ref) return ['ref', [value.oid.toString(16).padStart(16, '0'), value.className]]
  if (!(value instanceof Float)) throw new TypeError('this test has no words for it')
  const double = Buffer.alloc(8)
  double.writeDoubleBE(value.value)
  return ['float', hex(double)]
}

type Case = readonly [className: string, state: PickleValue]

/** What Python writes for each case, and whether it reads what we write as the same. */
function askPython(cases: readonly Case[]): { written: string; same: boolean }[] {
  const input = JSON.stringify(
    cases.map(([className, state]) => [className, describeValue(state), hex(encodeRecord(className, state))]),
  )
  const output = execFileSync(PYTHON!, [`${import.meta.dirname}/pickle-python.py`], {
    input,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  })
  return (JSON.parse(output) as [string, boolean][]).map(([written, same]) => ({ written, same }))
}

function expectPythonsBytes(cases: readonly Case[]): void {
  const answers = askPython(cases)
  expect(answers).toHaveLength(cases.length)
  for (const [i, [className, state]] of cases.entries()) {
    const ours = encodeRecord(className, state)
    expect(hex(ours), `record of ${className}, case ${i}`).toBe(answers[i]!.written)
    expect(answers[i]!.same, `case ${i}`).toBe(true)
    expect(describeValue(decodeRecord(ours, knownOid(0), tid(0n)).state)).toEqual(describeValue(state))
  }
}

const CLASSES = ['m.A', 'm.B', 'BTrees.IOBTree.IOBucket', 'wendelin.bigfile.file_zodb.ZBlk1']
const someText = fc.string({ unit: 'binary', maxLength: 20 })
const someBytes = fc.oneof(fc.uint8Array({ maxLength: 3 }), fc.uint8Array({ minLength: 253, maxLength: 260 }))
/** CPython has byte strings of length 0 and 1 once each. */
const byteString = (bytes: Uint8Array): ByteString => {
  const made = ByteString.from(bytes)
  return bytes.length <= 1 ? ByteString.key(made.latin1) : made
}
const someInteger = fc
  .oneof(
    fc.integer(),
    fc.constantFrom(0, 255, 256, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1, -1),
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }),
    fc.bigInt({ min: -(2n ** 600n), max: 2n ** 600n }),
  )
  .map(value => (Number.isSafeInteger(Number(value)) ? Number(value) : value))
const someRef = fc
  .tuple(fc.oneof(fc.nat({ max: 5 }), fc.maxSafeNat()), fc.constantFrom('', ...CLASSES))
  .map(([number, className]) => new Ref(oid(number), className))

const { state: someState } = fc.letrec<{ state: PickleValue }>(again => ({
  state: fc.oneof(
    { maxDepth: 5 },
    fc.constantFrom(null, true, false),
    someInteger,
    someText,
    someBytes.map(byteString),
    fc.double().map(value => new Float(value)),
    someRef,
    fc.constantFrom(...CLASSES).map(name => Global.of(name)),
    fc.array(again('state'), { maxLength: 6 }).map(items => new Tuple(items)),
    fc.array(again('state'), { maxLength: 6 }),
    fc.array(fc.tuple(someText, again('state')), { maxLength: 6 }).map(items => new Map(items)),
    fc
      .array(fc.tuple(someBytes, again('state')), { maxLength: 3 })
      .map(
        items => new Map(items.map(([key, value]) => [ByteString.key(ByteString.from(key).latin1), value])),
      ),
  ),
}))

const counted = (count: number): number[] => Array.from({ length: count }, (_, i) => i)
const numbered = (count: number): Map<PickleValue, PickleValue> => new Map(counted(count).map(i => [i, i]))

describe.skipIf(PYTHON === undefined)('records are those that Python writes with zodbpickle', () => {
  it('for any state', () => {
    const seed = Number(process.env['FC_SEED'] ?? Date.now() % 2 ** 31)
    const someCase: fc.Arbitrary<Case> = fc.tuple(fc.constantFrom(...CLASSES), someState)
    console.log(`seed ${seed}`)
    expectPythonsBytes(fc.sample(someCase, { seed, numRuns: 1500 }))
  })

  it('for dictionaries and lists around the item limit of one opcode', () => {
    const sizes = [0, 1, 2, 999, 1000, 1001, 2000, 2001]
    expectPythonsBytes(
      sizes.flatMap(size => [['m.A', numbered(size)] as const, ['m.A', counted(size)] as const]),
    )
  })

  it('for memo numbers up to and above 255', () => {
    const refs = counted(130).map(i => new Ref(oid(i), 'm.B'))
    expectPythonsBytes([
      ['m.A', new Tuple([...refs, ...refs, new Global('m', 'Late'), new Global('m', 'Late')])],
    ])
  })

  it('for tuples, lists and dictionaries that occur more than once in a state', () => {
    const shared = [new Tuple([1, 2, 3, 4]), [5], new Map<PickleValue, PickleValue>([['key', 6]])]
    const bytes = encodeRecord('m.A', [shared, shared, ...shared])
    const state = decodeRecord(bytes, oid(0), tid(0n)).state as PickleValue[]
    expect(state[0]).toBe(state[1])
    expect(state.slice(2)).toEqual(state[0])
    expect(hex(encodeRecord('m.A', state))).toBe(hex(bytes))
  })

  it('for the mapping of an inode', () => {
    const attributes = new Map<PickleValue, PickleValue>([
      ['mode', 0o100644],
      ['size', 2n ** 62n],
      ['mtime', 1_800_000_000_123_456_789n],
      ['atime', -1],
      ['target', ByteString.from(Buffer.from('há'))],
      ['xattrs', new Map([[ByteString.key('user.a'), ByteString.from(Buffer.alloc(300, 1))]])],
      ['data', new Ref(oid(0x1234), 'wendelin.bigfile.file_zodb.ZBigFile')],
    ])
    expectPythonsBytes([['persistent.mapping.PersistentMapping', new Map([['data', attributes]])]])
  })
})
