/**
 * Our BTrees beside those of Python's BTrees package (Debian's python3-btrees), node by node after the same
 * operations. Skipped where it is not installed.
 *
 * One difference is ignored: a single bucket is inlined by Python as long as no commit gave it an oid, here as
 * long as it never was one of several.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { Bucket } from '../../core/btree/bucket.ts'
import { checkTree } from '../../core/btree/check.ts'
import type { BTreeNode } from '../../core/btree/node.ts'
import { IOBTree, LOBTree, OOBTree, type BTree } from '../../core/btree/tree.ts'
import { Connection } from '../../core/objects/connection.ts'
import { ByteString, type PickleValue } from '../../core/objects/pickle/value.ts'
import { TestStore } from '../tools/test-store.ts'

const PYTHON = '/usr/bin/python3'
const isInstalled = spawnSync(PYTHON, ['-c', 'import BTrees.OOBTree']).status === 0

/** Runs operations, then returns the tree's shape: `[child, separator, child, ...]` of a node, keys of a bucket. */
const DRIVER = `
import json, sys
from BTrees.IOBTree import IOBTree
from BTrees.LOBTree import LOBTree
from BTrees.OOBTree import OOBTree

job = json.load(sys.stdin)
tree = {'IO': IOBTree, 'LO': LOBTree, 'OO': OOBTree}[job['family']]()
key = (lambda k: b'%08d' % k) if job['family'] == 'OO' else (lambda k: k)
back = (lambda k: int(k)) if job['family'] == 'OO' else (lambda k: k)
for operation, k in job['operations']:
    if operation == 'set':
        tree[key(k)] = 1
    else:
        tree.pop(key(k), None)

order = []
def bucket(state):
    order.append(None)
    return {'keys': [back(k) for k in state[0][::2]]}

def shape(node):
    state = node.__getstate__()
    if 'Bucket' in type(node).__name__:
        made = bucket(state)
        made['next'] = back(state[1].minKey()) if len(state) > 1 else None
        return made
    if state is None:
        return None
    if isinstance(state[0][0], tuple):
        return bucket(state[0][0])
    if len(state[0]) == 1 and state[0][0] is state[1]:
        return {'keys': [back(k) for k in state[0][0].__getstate__()[0][::2]]}
    return {'data': [back(x) if i % 2 else shape(x) for i, x in enumerate(state[0])], 'first': back(state[1].minKey())}

json.dump(shape(tree), sys.stdout)
`

type Operation = readonly ['set' | 'delete', number]
type Family = 'IO' | 'LO' | 'OO'

const CLASSES = { IO: IOBTree, LO: LOBTree, OO: OOBTree }
const back = (key: PickleValue | undefined): number | null =>
  key === undefined ? null : Number(key instanceof ByteString ? key.latin1 : key)

async function shape(object: BTreeNode<PickleValue> | Bucket<PickleValue>): Promise<unknown> {
  await object.activate()
  const { jar } = object
  if (object instanceof Bucket) {
    const next = object.next === undefined ? undefined : (jar.resolve(object.next) as Bucket<PickleValue>)
    await next?.activate()
    return { keys: object.entries.keys.map(back), next: back(next?.entries.keys[0]) }
  }
  const { inlined, children, separators, first } = object.content
  if (inlined !== undefined) return { keys: inlined.keys.map(back) }
  if (first === undefined) return null
  const [only, ...others] = children.map(ref => jar.resolve(ref))
  if (only instanceof Bucket && others.length === 0) return { keys: only.entries.keys.map(back) }
  const data: unknown[] = []
  for (const [i, ref] of children.entries()) {
    if (i > 0) data.push(back(separators[i - 1]))
    data.push(await shape(jar.resolve(ref) as BTreeNode<PickleValue>))
  }
  const leftmost = jar.resolve(first) as Bucket<PickleValue>
  await leftmost.activate()
  return { data, first: back(leftmost.entries.keys[0]) }
}

async function ours(family: Family, operations: readonly Operation[]): Promise<unknown> {
  const connection = await Connection.open(new TestStore(), { cacheSizeBytes: 256 << 20 })
  const tree = await connection.create<BTree<PickleValue>>(CLASSES[family] as never)
  for (const [i, [operation, k]] of operations.entries()) {
    const key = family === 'OO' ? new ByteString(String(k).padStart(8, '0')) : k
    if (operation === 'set') await tree.set(key, 1)
    else await tree.delete(key)
    if (i % 1000 === 999) await connection.prepare()
  }
  await checkTree(tree)
  return shape(tree)
}

function theirs(family: Family, operations: readonly Operation[]): unknown {
  const input = JSON.stringify({ family, operations })
  return JSON.parse(
    execFileSync(PYTHON, ['-c', DRIVER], { input, maxBuffer: 256 << 20 }).toString(),
  ) as unknown
}

function random(seed: number): (end: number) => number {
  let state = seed
  return end => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * end)
  }
}

/** Runs of sets and deletes, so that buckets fill and empty. */
function operations(seed: number, count: number, keys: number): Operation[] {
  const next = random(seed)
  const made: Operation[] = []
  while (made.length < count) {
    const kind = next(5) < 3 ? 'set' : 'delete'
    const start = next(keys)
    const step = next(4) === 0 ? -1 : 1
    for (let i = next(80); i >= 0; i--) made.push([kind, Math.max(0, start + step * i)])
  }
  return made
}

describe.skipIf(!isInstalled)("trees after the same operations as Python's BTrees", () => {
  const ascending = Array.from({ length: 35_000 }, (_, k): Operation => ['set', k])
  const cases: Record<string, [Family, Operation[]]> = {
    'ascending keys until the root has split': ['IO', ascending],
    'a split root of which every second key, then a long run is deleted': [
      'LO',
      [
        ...ascending,
        ...ascending.filter((_, k) => k % 2 === 0).map(([, k]): Operation => ['delete', k]),
        ...ascending.slice(3000, 20_000).map(([, k]): Operation => ['delete', k]),
      ],
    ],
    'everything deleted': ['OO', [...ascending, ...ascending.map(([, k]): Operation => ['delete', k])]],
  }
  for (const family of ['IO', 'LO', 'OO'] as const)
    for (let seed = 1; seed <= 6; seed++)
      cases[`random operations, ${family}, seed ${seed}`] = [
        family,
        operations(seed, 3000 * seed, 600 * seed),
      ]
  for (const [name, [family, list]] of Object.entries(cases))
    it(name, async () => {
      expect(await ours(family, list)).toEqual(theirs(family, list))
    })
})
