/** The log of transactions is read from what each says of itself; without that, from its revisions, with the same result. */
import { expect, test } from 'vitest'
import { log, type LoggedTransaction, type LogOptions } from '../../../core/history/log.ts'
import { MomentView } from '../../../core/history/moment-view.ts'
import { INODES_MAX, summaryIn } from '../../../core/objects/transaction-summary.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { Store, TransactionInfo, TransactionRange } from '../../../store/store.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'

const OPTIONS = { commitIntervalMs: 1e9 }

async function logged(store: Store, options: LogOptions = {}): Promise<readonly LoggedTransaction[]> {
  const all: LoggedTransaction[] = []
  for await (const transaction of log(store, options)) all.push(transaction)
  return all
}

/** A store of which some methods are others. */
const withMethods = (store: Store, methods: Partial<Store>): Store =>
  new Proxy(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(methods, name) ?? Reflect.get(target, name, target)
      return typeof value === 'function' ? (value as () => unknown).bind(target) : value
    },
  })

/** A store whose transactions have no summaries. */
const withoutSummaries = (store: Store): Store =>
  withMethods(store, {
    async *transactions(range?: TransactionRange): AsyncGenerator<TransactionInfo> {
      for await (const info of store.transactions(range)) yield { ...info, extension: new Uint8Array() }
    },
  })

/** A store of which it cannot be asked which objects were changed. */
const withoutChanges = (store: Store): Store =>
  withMethods(store, {
    changes: () => {
      throw new Error('the revisions of a transaction were read')
    },
  })

const shown = ({ info, changes, fileCount }: LoggedTransaction): unknown => ({
  tid: info.tid,
  changes,
  fileCount,
})

test('the log reads no revisions, and agrees with them', async () => {
  const path = temporaryDatabase()
  const paths = await openPaths(path, OPTIONS)
  await paths.mkdir('a')
  await paths.mkdir('a/b')
  await paths.write('a/b/one', Buffer.from('1'))
  await paths.write('two', Buffer.from('2'))
  await paths.fs.sync()
  await paths.write('two', Buffer.from('3'))
  await paths.fs.sync()
  await paths.rename('two', 'a/three')
  await paths.fs.sync()
  await paths.link('a/three', 'a/b/link')
  await paths.mkdir('empty')
  await paths.fs.sync()
  await paths.unlink('a/b/one')
  await paths.rmdir('empty')
  await paths.fs.sync()
  await paths.unlink('a/three')
  await paths.fs.sync()
  await paths.fs.close()
  const store = await openSqliteStore(path, { readOnly: true })
  try {
    const expected = (await logged(withoutSummaries(store))).map(shown)
    expect(expected).toHaveLength(7)
    expect((await logged(withoutChanges(store))).map(shown)).toEqual(expected)
    const view = await MomentView.open(store, await store.lastTid())
    for (const inner of ['a', 'a/b', 'a/b/link']) {
      const of = (await view.find(inner))!.oid
      const below = (await logged(withoutSummaries(store), { of })).map(shown)
      expect(below.length, inner).toBeGreaterThan(1)
      expect((await logged(withoutChanges(store), { of })).map(shown), inner).toEqual(below)
    }
  } finally {
    await store.close()
  }
})

test('for a large transaction all files are counted, and a requested number is named', async () => {
  const path = temporaryDatabase()
  const paths = await openPaths(path, OPTIONS)
  await paths.mkdir('many')
  const count = INODES_MAX + 50
  for (let i = 0; i < count; i++) await paths.write(`many/${i}`, Buffer.from('.'))
  await paths.fs.close()
  const store = await openSqliteStore(path, { readOnly: true })
  try {
    const [last] = await logged(withoutChanges(store), { names: 5, limit: 1 })
    expect(last?.fileCount).toBe(count)
    expect(last?.changes).toHaveLength(5)
    const many = (await (await MomentView.open(store, await store.lastTid())).find('many'))!.oid
    const [below] = await logged(store, { of: many, limit: 1 })
    expect(below?.fileCount).toBe(count)
  } finally {
    await store.close()
  }
})

test('an extension that is not a summary is ignored', () => {
  expect(summaryIn(new Uint8Array())).toBeUndefined()
  expect(summaryIn(Buffer.from('not a pickle'))).toBeUndefined()
  expect(summaryIn(Buffer.from('80037d712e', 'hex'))).toBeUndefined()
})

test('a file that was only read is not listed, although its access time is stored', async () => {
  const path = temporaryDatabase()
  const paths = await openPaths(path, OPTIONS)
  await paths.mkdir('a')
  await paths.write('a/read', Buffer.from('1'))
  const others = ['a/b', 'a/c', 'a/d']
  for (const other of others) await paths.write(other, Buffer.from('1'))
  await paths.fs.sync()
  for (const read of ['a/read', ...others]) await paths.read(read)
  await paths.write('other', Buffer.from('2'))
  await paths.fs.sync()
  await paths.fs.close()
  const store = await openSqliteStore(path, { readOnly: true })
  try {
    const view = await MomentView.open(store, await store.lastTid())
    const of = (await view.find('a/read'))!.oid
    expect((await view.find('a/read'))!.time('atime')).toBeGreaterThan(
      (await view.find('a/read'))!.time('ctime'),
    )
    const [last] = await logged(store)
    expect([last?.changes.map(change => change.path), last?.fileCount]).toEqual([['other'], 1])
    // Nor do such files take the places of others where few are named.
    const [few] = await logged(store, { names: 1 })
    expect(few?.changes.map(change => change.path)).toEqual(['other'])
    expect(await logged(store, { of })).toHaveLength(1)
    expect(await logged(store, { of: (await view.find('a'))!.oid })).toHaveLength(1)
  } finally {
    await store.close()
  }
})
