/** Copies, streams and backups of a branch. */
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { copyDatabase } from '../../../core/copy/copy-database.ts'
import { makeBranch } from '../../../core/database/branches.ts'
import { receive, send, sizeToSend } from '../../../core/database/streams.ts'
import { taggedMoments } from '../../../core/pack/moments.ts'
import { pack } from '../../../core/pack/pack.ts'
import { streamsIn } from '../../../core/stream/directory.ts'
import { open } from '../../../index.ts'
import { branchPath } from '../../../store/branches.ts'
import { formatTid, ROOT_OID, TID_MAX, TID_NONE, type Tid } from '../../../store/ids.ts'
import { createBranch, openDatabase } from '../../../store/open-store.ts'
import type { Store } from '../../../store/store.ts'
import { writeRandomHistory } from '../../store/contract/random-history.ts'
import { expectAll, type History } from '../../store/history.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

const ROOT = Uint8Array.of(1, 2, 3)
const rootOnly = new Map([[ROOT_OID, ROOT]])

async function using<S extends Store, T>(opening: Promise<S>, use: (store: S) => Promise<T>): Promise<T> {
  const store = await opening
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

const reading = async <T>(name: string, use: (store: Store) => Promise<T>): Promise<T> =>
  await using(openDatabase(name, { readOnly: true }), use)

/** Adds random transactions to a history; the root stays. */
async function goOn(path: string, history: History, seed: number): Promise<History> {
  const known = history.map(({ records, ...head }) => ({
    ...head,
    records: new Map([...records].filter(([oid]) => oid !== ROOT_OID)),
  }))
  const added = await using(openDatabase(path), store => writeRandomHistory(store, seed, known))
  return [...history, ...added]
}

/** Makes a branch; resolves to its history. */
async function begin(path: string, name: string, history: History, base: Tid): Promise<History> {
  await createBranch(path, name, base)
  const begun = history.filter(({ tid }) => tid <= base)
  await reading(branchPath(path, name), async store => {
    for await (const { tid, user, description, extension } of store.transactions({ after: base }))
      begun.push({ tid, user, description, extension, records: rootOnly })
  })
  return begun
}

test.each([1, 2])('a copy of a branch, and of a branch of it, has the whole history, seed %i', async seed => {
  const path = temporaryDatabase()
  const tid = await using(openDatabase(path, { create: true }), store =>
    store.commit({ changes: [{ oid: ROOT_OID, base: TID_NONE, record: { head: ROOT } }] }),
  )
  const first = { tid, user: '', description: '', extension: new Uint8Array(), records: rootOnly }
  const main = await goOn(path, [first], seed)
  const outerPath = branchPath(path, 'outer')
  let outer = await begin(path, 'outer', main, main[main.length >> 1]!.tid)
  outer = await goOn(outerPath, outer, seed + 10)
  const innerPath = branchPath(outerPath, 'inner')
  let inner = await begin(outerPath, 'inner', outer, outer.at(-10)!.tid)
  inner = await goOn(innerPath, inner, seed + 20)
  outer = await goOn(outerPath, outer, seed + 30)
  await goOn(path, main, seed + 40)
  for (const [name, history] of [
    [outerPath, outer],
    [innerPath, inner],
  ] as const) {
    const [copy, received] = [temporaryDatabase(), temporaryDatabase()]
    const { transactions } = await reading(name, source =>
      using(openDatabase(copy, { create: true }), target =>
        copyDatabase({ source, target, onProgress: () => undefined }),
      ),
    )
    expect(transactions).toBe(history.length)
    await reading(copy, store => expectAll(store, history))
    // Two streams, which meet before the branch begins or after.
    const index = Math.floor(history.length * (seed === 1 ? 0.2 : 0.9))
    const from = formatTid(history[index]!.tid)
    await receive(received, send(name, { to: from }))
    const { transactions: left } = await sizeToSend(name, { from })
    expect(left).toBe(history.length - index - 1)
    expect(await receive(received, send(name, { from }))).toMatchObject({ transactions: left })
    await reading(received, store => expectAll(store, history))
    // A copy goes on as a database of its own.
    await reading(copy, async store => expect(store.capabilities.branch).toBeUndefined())
    const more = await goOn(copy, history, seed + 50)
    await reading(copy, store => expectAll(store, more))
  }
})

/** The streams of a backup, one after the other. */
async function* streams(directory: string): AsyncGenerator<Uint8Array> {
  for (const path of await streamsIn(directory)) yield await readFile(path)
}

test('a branch is backed up, also after a pack of its database, and restored', async () => {
  const db = await open(temporaryDatabase(), { create: true })
  onTestFinished(() => db.close())
  const big = Buffer.alloc(3 << 20, 'base')
  await db.files.writeFile('/big', big)
  await db.files.writeFile('/old', 'dropped')
  const before = await db.sync()
  await db.files.unlink('/old')
  await makeBranch(db, 'b')
  const branch = await open(branchPath(db.name, 'b'))
  onTestFinished(() => branch.close())
  const directory = join(dirname(temporaryDatabase()), 'backup')
  await branch.files.writeFile('/mine', 'one')
  await branch.backup(directory)
  // The database goes on, and is packed.
  await db.files.writeFile('/big', 'other')
  await db.sync()
  await db.close()
  await using(openDatabase(db.name), store =>
    pack(store, { from: TID_MAX, moments: () => taggedMoments(store) }),
  )
  const file = await branch.files.open('/big', 'r+')
  await file.write(Buffer.from('here'), 0, 4, 1_000_000)
  await file.close()
  await branch.sync()
  expect((await branch.backup(directory)).full).toBeUndefined()
  const restored = join(dirname(directory), 'restored')
  await receive(restored, streams(directory))
  const found = await open(restored)
  onTestFinished(() => found.close())
  expect(await found.files.readFile('/mine', 'utf8')).toBe('one')
  big.write('here', 1_000_000)
  expect(Buffer.compare(await found.files.readFile('/big'), big)).toBe(0)
  expect(await found.at(before).readFile('/old', 'utf8')).toBe('dropped')
  const packed = temporaryDatabase()
  await reading(branchPath(db.name, 'b'), source =>
    using(openDatabase(packed, { create: true }), target =>
      copyDatabase({ source, target, onProgress: () => undefined }),
    ),
  )
  for (const name of [packed, restored]) {
    const damage: unknown[] = []
    const report = (each: unknown): void => void damage.push(each)
    await checkDatabase(name, { data: true, repair: false, report, progress: () => undefined })
    expect(damage).toEqual([])
  }
  // Neither is taken for a copy of the other.
  const main = await open(db.name)
  onTestFinished(() => main.close())
  await expect(main.backup(directory)).rejects.toMatchObject({ code: 'other-backup' })
  const copy = temporaryDatabase()
  await receive(copy, main.send())
  await expect(receive(copy, branch.send())).rejects.toMatchObject({ code: 'other-database' })
})
