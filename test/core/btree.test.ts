import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkTree } from '../../core/btree/check.ts'
import { IOBTree, LOBTree, OOBTree } from '../../core/btree/tree.ts'
import { Connection } from '../../core/objects/connection.ts'
import { ByteString } from '../../core/objects/pickle/value.ts'
import { TestStore } from '../tools/test-store.ts'

const OPTIONS = { cacheSizeBytes: 1 << 20 }

async function reopened(store: TestStore, tree: IOBTree): Promise<IOBTree> {
  const connection = await Connection.open(store, OPTIONS)
  return connection.get(tree.oid, tree.className) as IOBTree
}

async function committed(tree: { jar: unknown }): Promise<void> {
  const connection = tree.jar as Connection
  await connection.prepare()
  await connection.commit()
}

describe('BTree', () => {
  it('makes 17 buckets of 512 ascending keys: 16 of 30 and one of 32', async () => {
    const store = new TestStore()
    const tree = await (await Connection.open(store, OPTIONS)).create(IOBTree)
    for (let i = 0; i < 512; i++) expect(await tree.set(i * 4096, i)).toBe(true)
    expect(await checkTree(tree)).toEqual({ entries: 512, buckets: 17, nodes: 1, depth: 2 })
    await committed(tree)
    const again = await reopened(store, tree)
    expect(await checkTree(again)).toEqual({ entries: 512, buckets: 17, nodes: 1, depth: 2 })
    expect(await again.get(511 * 4096)).toBe(511)
    expect(await again.get(1)).toBeUndefined()
  })

  it('splits its root at 1000 children and keeps its oid', async () => {
    const store = new TestStore()
    const tree = await (await Connection.open(store, { cacheSizeBytes: 16 << 20 })).create(LOBTree)
    for (let i = 0; i < 40_000; i++) await tree.set(i, null)
    const facts = await checkTree(tree)
    expect(facts).toMatchObject({ entries: 40_000, depth: 3 })
    await committed(tree)
    const connection = await Connection.open(store, OPTIONS)
    const again = connection.get(tree.oid, LOBTree.CLASS_NAME) as LOBTree
    expect(await checkTree(again)).toEqual(facts)
    for (let i = 0; i < 40_000; i++) expect(await again.delete((i * 7919) % 40_000)).toBe(true)
    expect(again.content.children).toEqual([])
    expect(await again.count()).toBe(0)
  }, 60_000)

  it('orders bytes and text as Python does', async () => {
    const connection = await Connection.open(new TestStore(), OPTIONS)
    const bytes = await connection.create(OOBTree)
    for (const key of ['\xff', 'a', '', 'ab', '\x80']) await bytes.set(new ByteString(key), null)
    expect((await bytes.batch({}, 10)).keys.map(key => (key as ByteString).latin1)).toEqual([
      '',
      'a',
      'ab',
      '\x80',
      '\xff',
    ])
    const text = await connection.create(OOBTree)
    for (const key of ['\u{1f600}', '\uffff', 'z']) await text.set(key, null)
    expect((await text.batch({}, 10)).keys).toEqual(['z', '\uffff', '\u{1f600}'])
  })

  it('continues a scan by key after a change', async () => {
    const tree = await (await Connection.open(new TestStore(), OPTIONS)).create(IOBTree)
    for (let i = 0; i < 200; i++) await tree.set(i, null)
    const seen: number[] = []
    for await (const [key] of tree.range()) {
      seen.push(key)
      await tree.delete(key)
      await tree.delete(key + 1)
    }
    expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => 2 * i))
    expect(await tree.count()).toBe(0)
  })

  it('refuses a key that its family cannot hold', async () => {
    const tree = await (await Connection.open(new TestStore(), OPTIONS)).create(IOBTree)
    await expect(tree.set(2 ** 31, null)).rejects.toThrow(RangeError)
  })

  it('matches a sorted Map under random operations and reloads', async () => {
    const key = fc.integer({ min: 0, max: 400 })
    const operation = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          kind: fc.constant('set' as const),
          key,
          count: fc.integer({ min: 1, max: 60 }),
        }),
      },
      {
        weight: 5,
        arbitrary: fc.record({
          kind: fc.constant('delete' as const),
          key,
          count: fc.integer({ min: 1, max: 60 }),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant('scan' as const),
          key,
          count: fc.integer({ min: 0, max: 300 }),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant('reload' as const), key, count: fc.constant(0) }),
      },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 60 }), async operations => {
        const store = new TestStore()
        let tree = await (await Connection.open(store, OPTIONS)).create(IOBTree)
        const model = new Map<number, number>()
        let step = 0
        for (const { kind, key, count } of operations) {
          step++
          if (kind === 'reload') {
            await committed(tree)
            tree = await reopened(store, tree)
          } else if (kind === 'scan') {
            const keys = [...model.keys()].sort((a, b) => a - b).filter(k => k >= key && k < key + count)
            const forward: number[] = []
            for await (const [k] of tree.range({ lo: key, hi: key + count })) forward.push(k)
            expect(forward).toEqual(keys)
            const backward: number[] = []
            for await (const [k] of tree.range({ lo: key, hi: key + count, reverse: true })) backward.push(k)
            expect(backward).toEqual(keys.toReversed())
          } else
            for (let k = key; k < key + count; k++) {
              if (kind === 'set') {
                expect(await tree.set(k, step)).toBe(!model.has(k))
                model.set(k, step)
              } else expect(await tree.delete(k)).toBe(model.delete(k))
            }
        }
        const { entries } = await checkTree(tree)
        expect(entries).toBe(model.size)
        for (const [k, value] of model) expect(await tree.get(k)).toBe(value)
        const keys = [...model.keys()]
        expect(await tree.minKey()).toBe(model.size > 0 ? Math.min(...keys) : undefined)
        expect(await tree.maxKey()).toBe(model.size > 0 ? Math.max(...keys) : undefined)
      }),
      { numRuns: 150 },
    )
  })
})
