import { describe, expect, it } from 'vitest'
import { checkDepth } from '../../../core/objects/pickle/check-value.ts'
import { PickleError } from '../../../core/objects/pickle/input.ts'
import { PickleReader } from '../../../core/objects/pickle/reader.ts'
import {
  ByteString,
  entry,
  Float,
  Global,
  Opaque,
  Ref,
  Tuple,
  type PickleValue,
} from '../../../core/objects/pickle/value.ts'
import { oid } from '../../../store/ids.ts'

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')
const load = (text: string): PickleValue => new PickleReader(latin1(text)).load()
const bytes = (text: string): ByteString => new ByteString(text)

describe('a pickle is read', () => {
  it.each<[string, string, PickleValue]>([
    ['None', 'N.', null],
    ['True', '\x80\x02\x88.', true],
    ['False', '\x80\x02\x89.', false],
    ['True as protocol 1 has it', 'I01\n.', true],
    ['False as protocol 1 has it', 'I00\n.', false],
    ['a small int', 'K\xff.', 255],
    ['a 16-bit int', 'M\x00\x01.', 256],
    ['a 32-bit int', 'J\xff\xff\xff\xff.', -1],
    ['a decimal int', 'I-42\n.', -42],
    ['a decimal long', 'L-12345678901234567890L\n.', -12345678901234567890n],
    ['a long of no bytes', '\x8a\x00.', 0],
    ['a positive long', '\x8a\x02\xff\x00.', 255],
    ['a negative long', '\x8a\x01\xff.', -1],
    ['a long of 8 bytes', '\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.', 2n ** 63n - 1n],
    ['a long with a long length', '\x8b\x01\x00\x00\x00\x80.', -128],
    ['a float', 'G\x3f\xf8\x00\x00\x00\x00\x00\x00.', new Float(1.5)],
    ['short bytes', 'C\x02\x00\xff.', bytes('\x00\xff')],
    ['bytes', 'B\x02\x00\x00\x00\x00\xff.', bytes('\x00\xff')],
    ["Python 2's short string", 'U\x02\x00\xff.', bytes('\x00\xff')],
    ["Python 2's string", 'T\x02\x00\x00\x00\x00\xff.', bytes('\x00\xff')],
    ['text', 'X\x03\x00\x00\x00a\xc3\xa9.', 'aé'],
    ['text with a byte order mark', 'X\x04\x00\x00\x00\xef\xbb\xbfa.', '\ufeffa'],
    ['text with a replacement character', 'X\x03\x00\x00\x00\xef\xbf\xbd.', '\ufffd'],
    ['text with a lone surrogate', 'X\x04\x00\x00\x00a\xed\xb2\x80.', 'a\udc80'],
    ['text with two lone surrogates', 'X\x07\x00\x00\x00\xed\xb2\x80a\xed\xa0\x80.', '\udc80a\ud800'],
    ['an empty tuple', ').', new Tuple([])],
    ['tuples of one to three', 'K\x01\x85K\x02\x86K\x03K\x04\x87.', tupleOf(tupleOf(tupleOf(1), 2), 3, 4)],
    ['a tuple of four', '(K\x01K\x02K\x03K\x04t.', tupleOf(1, 2, 3, 4)],
    ['a list', '](K\x01K\x02eK\x03a.', [1, 2, 3]],
    ['a dictionary', '}(U\x01aK\x01X\x01\x00\x00\x00bK\x02uK\x03Ns.', dictionary()],
    ['a class', 'cos\nsystem\n.', new Global('os', 'system')],
    ['a reference', '(U\x08\x00\x00\x00\x00\x00\x00\x01\x00cm\nC\ntQ.', new Ref(oid(256), 'm.C')],
    ['the largest oid', 'U\x08\x00\x1f\xff\xff\xff\xff\xff\xffQ.', new Ref(oid(2 ** 53 - 1), '')],
    ['what was popped, as gone', 'K\x01K\x020(0(K\x051.', 1],
    ['what was doubled, twice', '(K\x012t.', tupleOf(1, 1)],
    ['a memo number above 255', 'K\x05r\x00\x01\x00\x000j\x00\x01\x00\x00.', 5],
    ['a call, as not made', 'cos\nsystem\nU\x02id\x85R.', call('os.system', bytes('id'))],
    ['an object, as not made', 'cm\nC\n)\x81.', call('m.C')],
    ['an object of protocol 1, as not made', '(cm\nC\nK\x01o.', call('m.C', 1)],
  ])('with %s', (_, text, value) => {
    expect(load(text)).toEqual(value)
  })

  it('and the state of a built object is kept', () => {
    const made = load('cm\nC\n)\x81K\x01a(K\x02eK\x03K\x04sK\x05b.') as Opaque
    expect(made).toMatchObject({ items: [1, 2], entries: [[3, 4]], state: 5 })
  })

  it('and weak references and those to other databases are not references', () => {
    const id = ['w', tupleOf(bytes('\0\0\0\0\0\0\0\x01'))]
    const reader = new PickleReader(latin1('](X\x01\x00\x00\x00wU\x08\0\0\0\0\0\0\0\x01\x85eQ.'))
    reader.onRef = () => expect.unreachable()
    expect(reader.load()).toEqual(new Opaque(null, id))
  })

  it('and long bytes are views of it', () => {
    const pickle = Buffer.concat([latin1('B\x01\x00\x01\x00'), Buffer.alloc(65_537, 9), latin1('.')])
    const value = new PickleReader(pickle).load() as Uint8Array
    expect(value).toEqual(pickle.subarray(5, -1))
    expect(value.buffer).toBe(pickle.buffer)
  })

  it('after another one that shares its memo', () => {
    const reader = new PickleReader(latin1('cm\nC\nq\x05.h\x05.'))
    expect(reader.load()).toBe(reader.load())
  })

  it('and repeated memo references yield one object', () => {
    const [first, second] = (load('}q\x00h\x00\x86.') as Tuple).items
    expect(first).toBe(second)
  })
})

it('a dictionary finds keys that are bytes by their content, and names in either spelling', () => {
  const map = load('}(U\x01aK\x01C\x02\xff\x00K\x02u.') as Map<PickleValue, PickleValue>
  expect(map.get(ByteString.key('\xff\x00'))).toBe(2)
  expect(entry(map, 'a')).toBe(1)
  expect(entry(map, 'b')).toBeUndefined()
  expect(entry(new Map([['a', null]]), 'a')).toBeNull()
})

describe('a pickle is refused', () => {
  it.each<[string, string, RegExp]>([
    ['is empty', '', /ends/],
    ['has no STOP', 'N', /ends/],
    ['leaves nothing', '.', /stack is empty/],
    ['leaves two values', 'NN.', /left over/],
    ['leaves a mark', '(N.', /stack is empty|left over/],
    ['leaves a mark below', '(N0N.', /left over|empty/],
    ['has an opcode that is not known', '\xffN.', /0xff/],
    ['has a protocol that is not known', '\x80\x04N.', /protocol 4/],
    ['asks for a memo number that was never set', 'h\x00.', /memo number 0/],
    ['sets a memo number from nothing', 'q\x00.', /stack is empty/],
    ['sets a huge memo number', 'Nr\xff\xff\xff\xff.', /4294967295/],
    ['takes a tuple from nothing', 'K\x01\x86.', /stack is empty/],
    ['takes a tuple from below the mark', 'K\x01(K\x02\x86t.', /stack is empty/],
    ['takes a value from below the mark', 'K\x01(Qt.', /stack is empty/],
    ['closes a mark that is not there', 'Nt.', /no mark/],
    ['appends to a number', 'K\x01K\x02a.', /other than a list/],
    ['sets an item in a list', ']K\x01K\x02s.', /other than a dictionary/],
    ['has a key without a value', '}(K\x01u.', /no value/],
    ['has a list as key', '}]Ns.', /key/],
    ['sets the state of a number', 'K\x01K\x02b.', /state/],
    ['makes an object of no class', '(o.', /no class/],
    ['has bytes longer than itself', 'B\xff\xff\xff\xff.', /middle of a value/],
    ['has text longer than itself', 'X\xff\xff\x00\x00.', /middle of a value/],
    ['has text longer than strings can be', 'X\xff\xff\xff\xff.', /too long/],
    ['has text that is not UTF-8', 'X\x01\x00\x00\x00\xff.', /UTF-8/],
    ['has text that ends in half a surrogate', 'X\x02\x00\x00\x00\xed\xb2.', /UTF-8/],
    ['has a class without a name', 'cm\n\n.', /no name/],
    ['has a class whose name ends in a dot', 'cm\nC.\n.', /no name/],
    ['has a class that does not end', 'cm\nC', /line/],
    ['has an int that is none', 'I1e5\n.', /decimal/],
    ['has an int of a million digits', `L${'9'.repeat(1_000_000)}L\n.`, /too long/],
    ['has an int of a megabyte', `\x8b\x00\x00\x10\x00${'\x7f'.repeat(1 << 20)}.`, /too large/],
    ['has a reference with a short oid', 'U\x07\0\0\0\0\0\0\x01Q.', /8 bytes/],
    ['has more dictionaries than records have', '}'.repeat(1 << 20), /more than/],
    ['has more values than records have', `(${'N'.repeat(1 << 21)}t.`, /more than/],
    ['has more marks than records have', '('.repeat(1 << 21), /more than/],
    ['doubles a value for ever', `N${'2'.repeat(1 << 21)}`, /more than/],
  ])('that %s', (_, text, message) => {
    expect(() => load(text)).toThrow(PickleError)
    expect(() => load(text)).toThrow(message)
  })
})

describe('depth', () => {
  const check = (text: string) => () => checkDepth(load(text))

  it.each([
    ['of tuples', `)${'\x85'.repeat(99)}.`],
    ['of values that stand in many places', `)${'2\x86'.repeat(99)}.`],
    ['of lists', `${']'.repeat(100)}${'a'.repeat(99)}.`],
  ])('%s up to 100 is allowed', (_, text) => expect(check(text)).not.toThrow())

  it.each([
    ['of tuples', `)${'\x85'.repeat(100)}.`],
    ['of a hundred thousand tuples', `)${'\x85'.repeat(100_000)}.`],
    ['of dictionaries', `${'}N'.repeat(101)}N${'s'.repeat(101)}.`],
    ['behind a short way', `)${'\x85'.repeat(60)}q\x00h\x00${'\x85'.repeat(60)}\x86.`],
    ['of objects', `${'cm\nC\n'.repeat(101)})${'R'.repeat(101)}.`],
  ])('%s beyond that is refused', (_, text) => expect(check(text)).toThrow(/deep/))

  it.each([
    ['a list', ']q\x00h\x00a.'],
    ['a dictionary', '}q\x00Nh\x00s.'],
    ['a tuple by way of a list', ']q\x00\x85q\x01h\x00h\x01a\x86.'],
  ])('of %s that contains itself is refused', (_, text) => expect(check(text)).toThrow(/itself/))
})

function tupleOf(...items: PickleValue[]): Tuple {
  return new Tuple(items)
}

function call(className: string, ...args: PickleValue[]): Opaque {
  return new Opaque(Global.of(className), tupleOf(...args))
}

function dictionary(): Map<PickleValue, PickleValue> {
  return new Map<PickleValue, PickleValue>([
    [ByteString.key('a'), 1],
    ['b', 2],
    [3, null],
  ])
}
