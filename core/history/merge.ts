/**
 * Three-way merge for undo: takes back the change from `before` to `after` in an object that has changed to `now` since.
 * There is no result if the later changes conflict with the one that is taken back.
 *
 * - mappings (inodes, the superblock): key by key. Times and the recorded name stay. So do counts, which follow from other objects:
 *   the undo sets them afterwards (core/file-system/history/undone-names.ts). An inode must not get inline data beyond its size: it
 *   would appear when the file grows.
 * - buckets, and trees that inline their entries: entry by entry, if the bucket has kept its place in the tree.
 */
import { PACKED, packed, unpackInto } from '../objects/packed-attributes.ts'
import { ByteString, Tuple, type PickleValue } from '../objects/pickle/value.ts'
import { encodeRecord, type DecodedRecord } from '../objects/record.ts'
import { PersistentMapping } from '../objects/persistent-mapping.ts'
import { IO, LO, OO, type KeyKind } from '../btree/kind.ts'

/** Keys that count what is in other objects. */
const COUNTS: ReadonlySet<string> = new Set(['bytes', 'inodes', 'stored', 'nlink'])
/** Keys that record the time of changes. */
const TIMES: ReadonlySet<string> = new Set(['atime', 'mtime', 'ctime'])
/** Keys that record a name which an inode had; the parent of a directory is set with the counts. */
const HINTS: ReadonlySet<string> = new Set(['parent', 'name'])

/** The merged state; undefined if the states cannot be merged. All three are of one class. */
export function mergeBack(
  before: DecodedRecord,
  after: DecodedRecord,
  now: DecodedRecord,
): PickleValue | undefined {
  const { className } = now
  if (before.className !== className || after.className !== className) return undefined
  const states = [before.state, after.state, now.state] as const
  if (className === PersistentMapping.CLASS_NAME) return mergeMappings(...states)
  for (const kind of [OO, LO, IO]) {
    if (className === kind.bucket) return mergeBuckets(kind as KeyKind<PickleValue>, ...states)
    if (className === kind.tree) return mergeInlined(kind as KeyKind<PickleValue>, ...states)
  }
  return undefined
}

/** Whether two states of a mapping differ only in times. */
export function differsInTimesOnly(a: DecodedRecord, b: DecodedRecord): boolean {
  const [left, right] = [mappingOf(a.state), mappingOf(b.state)]
  if (left === undefined || right === undefined) return false
  const keys = [...new Set([...left.keys(), ...right.keys()])]
  return keys.every(key => isOneOf(TIMES, key) || isSame(left.get(key), right.get(key)))
}

function mergeMappings(before: PickleValue, after: PickleValue, now: PickleValue): PickleValue | undefined {
  const [old, made, current] = [mappingOf(before), mappingOf(after), mappingOf(now)]
  if (old === undefined || made === undefined || current === undefined) return undefined
  const merged = new Map(current)
  for (const key of new Set([...old.keys(), ...made.keys()])) {
    const [was, became, is] = [old.get(key), made.get(key), current.get(key)]
    if (isOneOf(COUNTS, key) || isSame(was, became) || isSame(is, was)) continue
    if (isSame(is, became)) put(merged, key, was)
    else if (!isOneOf(TIMES, key) && !isOneOf(HINTS, key)) return undefined
  }
  if (hasDataBeyondSize(merged)) return undefined
  return new Map<PickleValue, PickleValue>([['data', packed(merged)]])
}

function hasDataBeyondSize(inode: ReadonlyMap<string, PickleValue>): boolean {
  const [data, size] = [inode.get('data'), inode.get('size')]
  const length =
    data instanceof ByteString ? data.latin1.length : data instanceof Uint8Array ? data.length : 0
  return (typeof size === 'number' || typeof size === 'bigint') && length > size
}

function mergeInlined(
  kind: KeyKind<PickleValue>,
  ...states: readonly [PickleValue, PickleValue, PickleValue]
): PickleValue | undefined {
  const entries = states.map(inlinedOf)
  const [before, after, now] = entries
  if (before === undefined || after === undefined || now === undefined) return undefined
  const merged = mergeEntries(kind, before, after, now)
  if (merged === undefined) return undefined
  return merged.items.length === 0 ? null : new Tuple([new Tuple([new Tuple([merged])])])
}

function mergeBuckets(
  kind: KeyKind<PickleValue>,
  before: PickleValue,
  after: PickleValue,
  now: PickleValue,
): PickleValue | undefined {
  if (!(before instanceof Tuple && after instanceof Tuple && now instanceof Tuple)) return undefined
  const [[old, oldNext], [made, madeNext], [current, next]] = [before.items, after.items, now.items]
  if (!(old instanceof Tuple && made instanceof Tuple && current instanceof Tuple)) return undefined
  if (!isSame(oldNext, next) || !isSame(madeNext, next)) return undefined
  const merged = mergeEntries(kind, old, made, current)
  // A tree has no empty buckets.
  if (merged === undefined || merged.items.length === 0) return undefined
  return new Tuple(next === undefined ? [merged] : [merged, next])
}

function mergeEntries(
  kind: KeyKind<PickleValue>,
  before: Tuple,
  after: Tuple,
  now: Tuple,
): Tuple | undefined {
  const [old, made, merged] = [entriesOf(before), entriesOf(after), entriesOf(now)]
  for (const id of new Set([...old.keys(), ...made.keys()])) {
    const [was, became, is] = [old.get(id), made.get(id), merged.get(id)]
    if (isSame(was?.value, became?.value) || isSame(is?.value, was?.value)) continue
    if (!isSame(is?.value, became?.value)) return undefined
    put(merged, id, was)
  }
  const sorted = [...merged.values()].sort((a, b) => kind.compare(a.key, b.key))
  return new Tuple(sorted.flatMap(({ key, value }) => [key, value]))
}

interface Entry {
  readonly key: PickleValue
  readonly value: PickleValue
}

function entriesOf({ items }: Tuple): Map<string, Entry> {
  const entries = new Map<string, Entry>()
  for (let i = 0; i < items.length; i += 2) {
    const key = items[i] ?? null
    const id = key instanceof ByteString ? `bytes ${key.latin1}` : JSON.stringify(key)
    entries.set(id, { key, value: items[i + 1] ?? null })
  }
  return entries
}

/** The inlined entries of a tree, empty for an empty tree; undefined if it has children. */
function inlinedOf(state: PickleValue): Tuple | undefined {
  if (state === null) return new Tuple([])
  const [data] = state instanceof Tuple ? state.items : []
  const [bucket] = data instanceof Tuple ? data.items : []
  const [entries] = bucket instanceof Tuple ? bucket.items : []
  return entries instanceof Tuple ? entries : undefined
}

/** The entries of a mapping, its numbers unpacked; undefined for other states. */
export function mappingOf(state: PickleValue): ReadonlyMap<string, PickleValue> | undefined {
  const data = state instanceof Map ? state.get('data') : undefined
  if (!(data instanceof Map)) return undefined
  const entries = new Map<string, PickleValue>()
  for (const [key, value] of data) {
    if (typeof key !== 'string') return undefined
    if (key !== PACKED) entries.set(key, value)
    else if (!unpackInto(value, entries)) return undefined
  }
  return entries
}

const isOneOf = (names: ReadonlySet<string>, key: PickleValue): boolean =>
  typeof key === 'string' && names.has(key)

function put<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key)
  else map.set(key, value)
}

/** Whether two values have the same serialised form. */
function isSame(a: PickleValue | undefined, b: PickleValue | undefined): boolean {
  if (a === b) return true
  if (a === undefined || b === undefined) return false
  return Buffer.compare(encodeRecord('a.b', a), encodeRecord('a.b', b)) === 0
}
