import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { IOBTree, LOBTree, OOBTree } from '../../core/btree/tree.ts'
import { Connection } from '../../core/objects/connection.ts'
import { ByteString, Ref, Tuple, type PickleValue } from '../../core/objects/pickle/value.ts'
import { decodeRecord, encodeRecord } from '../../core/objects/record.ts'
import { oid as toOid, TID_MAX, TID_NONE, type Oid } from '../../store/ids.ts'
import { Random } from '../stress/random.ts'
import { TestStore } from '../tools/test-store.ts'
import { PYTHON, runPython } from './python.ts'

const FAMILIES = { IO: IOBTree, LO: LOBTree, OO: OOBTree }
type Family = keyof typeof FAMILIES
type Operation = readonly [operation: 'set' | 'delete', key: number | string]
type Commits = readonly (readonly Operation[])[]

/** A tree's records, its objects numbered in the order in which they are met from its root: no oids are compared. */
async function canonical(root: Oid, load: (oid: Oid) => Promise<Uint8Array>): Promise<string[]> {
  const numbers = new Map<Oid, Oid>([[root, toOid(0)]])
  const records: string[] = []
  // A Map gives what is added while it is walked.
  for (const oid of numbers.keys()) {
    const bytes = await load(oid)
    const { className, state } = decodeRecord(bytes, oid, TID_NONE)
    expect(Buffer.from(encodeRecord(className, state)).toString('hex')).toBe(
      Buffer.from(bytes).toString('hex'),
    )
    const renumber = (value: PickleValue): PickleValue => {
      if (value instanceof Tuple) return new Tuple(value.items.map(renumber))
      if (!(value instanceof Ref)) return value
      if (!numbers.has(value.oid)) numbers.set(value.oid, toOid(numbers.size))
      return new Ref(numbers.get(value.oid)!, value.className)
    }
    records.push(Buffer.from(encodeRecord(className, renumber(state))).toString('hex'))
  }
  return records
}

async function expectPythonsTrees(family: Family, commits: Commits): Promise<void> {
  const answers = runPython(
    join(import.meta.dirname, 'btree-model.py'),
    [],
    JSON.stringify({ family, commits }),
  ) as Record<string, string>[]
  const store = new TestStore()
  const connection = await Connection.open(store, { cacheSizeBytes: 64 << 20 })
  const tree = await connection.create(FAMILIES[family] as typeof OOBTree)
  for (const [step, operations] of commits.entries()) {
    for (const [operation, given] of operations) {
      const key = (typeof given === 'string' ? new ByteString(given) : given) as ByteString
      if (operation === 'set') await tree.set(key, step)
      else await tree.delete(key)
    }
    await connection.prepare()
    await connection.commit()
    const ours = await canonical(tree.oid, async oid => (await store.load([oid], TID_MAX))[0]!.record)
    const theirs = await canonical(toOid(1), async oid =>
      Buffer.from(answers[step]![oid.toString(16).padStart(16, '0')]!, 'hex'),
    )
    expect(ours, `commit ${step}`).toEqual(theirs)
  }
}

const keyOf = (family: Family, key: number): number | string =>
  family === 'OO' ? `key ${key.toString(36)}` : key

function randomCommits(family: Family, random: Random): Commits {
  const span = 50 + random.below(4000)
  return Array.from({ length: 8 }, () => {
    const operations: Operation[] = []
    const share = random.next()
    for (let runs = 1 + random.below(40); runs > 0; runs--) {
      const start = random.below(span)
      const stride = 1 + random.below(3)
      const operation = random.next() < share ? 'set' : 'delete'
      for (let i = random.below(60); i > 0; i--)
        operations.push([operation, keyOf(family, start + i * stride)])
    }
    return operations
  })
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

describe.skipIf(PYTHON === undefined)("a tree's records are those that BTrees writes", () => {
  it.each(['IO', 'LO', 'OO'] as const)('after random sets and deletes, for %sBTree', async family => {
    const seed = Number(process.env['FC_SEED'] ?? Random.seed())
    console.log(`seed ${seed}`)
    const random = new Random(seed)
    for (let i = 0; i < 12; i++) await expectPythonsTrees(family, randomCommits(family, random))
  })

  it('when one bucket has become an object and is not inlined again', async () => {
    const all = range(0, 61)
    await expectPythonsTrees('IO', [
      all.slice(0, 60).map(key => ['set', key] as const),
      [['set', 60]],
      all.slice(30).map(key => ['delete', key] as const),
      all.slice(0, 30).map(key => ['delete', key] as const),
      [['set', 5]],
    ])
  })

  it('when inner nodes and the root split, and after most of it is deleted', async () => {
    const order = new Random(3)
    const some = range(0, 30_000).map(() => ['delete', order.below(34_000)] as const)
    await expectPythonsTrees('LO', [range(0, 34_000).map(key => ['set', key] as const), some])
    await expectPythonsTrees('IO', [range(0, 34_000).map(key => ['set', -key] as const), some])
  })
})
