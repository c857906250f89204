/** A branch as a store: against a written-down history, and beside the database that it is a branch of. */
import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { branchAt, branchNames, branchPath, branchPlace, removeBranchFiles } from '../../../store/branches.ts'
import type { ObjectChange } from '../../../store/changes.ts'
import type { StoreError } from '../../../store/errors.ts'
import { ROOT_OID, TID_NONE, oid as toOid, tid as toTid, type Oid, type Tid } from '../../../store/ids.ts'
import { createBranch, openDatabase, removeBranch } from '../../../store/open-store.ts'
import type { Store, WritableStore } from '../../../store/store.ts'
import {
  expectAll,
  expectBytes,
  expectChanges,
  expectParts,
  expectTransactions,
  stateAt,
  type History,
} from '../history.ts'
import { random, writeRandomHistory } from '../contract/random-history.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'
import { newOids } from '../../tools/new-oids.ts'

const ROOT = Uint8Array.of(1, 2, 3)

/** A database with a root and a random history. */
async function makeParent(seed: number): Promise<{ readonly path: string; readonly history: History }> {
  const path = temporaryDatabase()
  const store = await openDatabase(path, { create: true })
  const tid = await store.commit({ changes: [{ oid: ROOT_OID, base: TID_NONE, record: { head: ROOT } }] })
  const first = {
    tid,
    user: '',
    description: '',
    extension: new Uint8Array(),
    records: new Map([[ROOT_OID, ROOT]]),
  }
  const history = [first, ...(await writeRandomHistory(store, seed))]
  await store.close()
  return { path, history }
}

async function opened(path: string): Promise<WritableStore> {
  const store = await openDatabase(path)
  onTestFinished(() => store.close().catch(() => undefined))
  return store
}

const codeOf = async (failing: Promise<unknown>): Promise<string> =>
  await failing.then(
    () => 'none',
    (error: unknown) => (error as StoreError).code,
  )

/** The history that a new branch shows. */
async function begun(branch: Store, upToBase: History): Promise<History> {
  const tid = await branch.lastTid()
  let description = ''
  for await (const info of branch.transactions({ reverse: true, limit: 1 })) description = info.description
  const first = {
    tid,
    user: '',
    description,
    extension: new Uint8Array(),
    records: new Map([[ROOT_OID, stateAt(upToBase, tid).get(ROOT_OID)?.record ?? ROOT]]),
  }
  return [...upToBase, first]
}

test.each([1, 2])('has the history of its base and its own, seed %i', async seed => {
  const { path, history } = await makeParent(seed)
  const base = history[Math.floor(random(seed)() * history.length)]!.tid
  const upToBase = history.filter(({ tid }) => tid <= base)
  await createBranch(path, 'trial', base)
  const main = await opened(path)
  const branchFile = branchPath(path, 'trial')
  let branch = await opened(branchFile)
  let expected = await begun(branch, upToBase)
  await expectTransactions(branch, expected)
  // Both continue to work, also at the same time.
  const [mine, others] = await Promise.all([
    writeRandomHistory(branch, seed + 100, expected),
    writeRandomHistory(main, seed + 200, history),
  ])
  expected = [...expected, ...mine]
  await expectAll(branch, expected)
  await expectTransactions(main, [...history, ...others])
  for (const store of [branch, await reading(branchFile)]) {
    await expectReaders(store, expected)
    await expectIdentities(store, expected)
    for (const [oid, { record }] of [...stateAt(expected, await store.lastTid())].slice(-30))
      await expectParts(store, oid, await store.lastTid(), record)
  }
  await branch.close()
  branch = await opened(branchFile)
  const more = await writeRandomHistory(branch, seed + 300, expected)
  await expectChanges(branch, [...expected, ...more])
})

test.each([3, 4])('a branch of a branch has the history of both, seed %i', async seed => {
  const { path, history } = await makeParent(seed)
  const next = random(seed)
  const pick = (from: History): Tid => from[Math.floor(next() * from.length)]!.tid
  const base = pick(history)
  await createBranch(path, 'outer', base)
  const outerFile = branchPath(path, 'outer')
  const outer = await opened(outerFile)
  const outerBegin = await begun(
    outer,
    history.filter(({ tid }) => tid <= base),
  )
  const outerHistory = [...outerBegin, ...(await writeRandomHistory(outer, seed + 100, outerBegin))]
  // Its base is a moment of the branch: before it, the branch has those of the database.
  expect(await codeOf(createBranch(outerFile, 'early', toTid(base - 1n)))).toBe('before-branch')
  const innerBase = pick(outerHistory.filter(({ tid }) => tid >= base))
  await createBranch(outerFile, 'inner', innerBase)
  const innerFile = branchPath(outerFile, 'inner')
  let inner = await opened(innerFile)
  let expected = await begun(
    inner,
    outerHistory.filter(({ tid }) => tid <= innerBase),
  )
  await expectTransactions(inner, expected)
  const main = await opened(path)
  const [mine, ofOuter, ofMain] = [
    await writeRandomHistory(inner, seed + 200, expected),
    await writeRandomHistory(outer, seed + 300, outerHistory),
    await writeRandomHistory(main, seed + 400, history),
  ]
  expected = [...expected, ...mine]
  await expectAll(inner, expected)
  await expectTransactions(outer, [...outerHistory, ...ofOuter])
  await expectTransactions(main, [...history, ...ofMain])
  for (const store of [inner, await reading(innerFile)]) {
    await expectReaders(store, expected)
    await expectIdentities(store, expected)
    for (const [oid, { record }] of [...stateAt(expected, await store.lastTid())].slice(-30))
      await expectParts(store, oid, await store.lastTid(), record)
  }
  await inner.close()
  inner = await opened(innerFile)
  await expectChanges(inner, [...expected, ...(await writeRandomHistory(inner, seed + 500, expected))])
  // The outer one stays as long as the inner one.
  await outer.close()
  await inner.close()
  expect(await codeOf(removeBranch(path, 'outer'))).toBe('has-branches')
  expect(existsSync(innerFile)).toBe(true)
  await removeBranch(outerFile, 'inner')
  await removeBranch(path, 'outer')
  expect(existsSync(dirname(outerFile))).toBe(false)
})

async function reading(path: string): Promise<Store> {
  const store = await openDatabase(path, { readOnly: true })
  onTestFinished(() => store.close())
  return store
}

/** What scans of the whole branch read. */
async function expectReaders(store: Store, history: History): Promise<void> {
  const { measuring, checking } = store.capabilities
  for (const reader of [measuring?.reader(), checking?.reader()]) {
    if (reader === undefined) continue
    const last = await store.lastTid()
    const revisions = history
      .flatMap(({ tid, records }) => [...records].map(([oid, record]) => ({ oid, tid, record })))
      .sort((a, b) => a.oid - b.oid || (a.tid > b.tid ? -1 : 1))
    const oids = [...new Set(revisions.map(({ oid }) => oid))]
    const found: { oid: number; tid: bigint; isTombstone: boolean }[] = []
    for await (const batch of reader.revisions(oids, last))
      found.push(...batch.map(({ oid, tid, isTombstone }) => ({ oid, tid, isTombstone })))
    expect(found).toEqual(
      revisions.map(({ oid, tid, record }) => ({ oid, tid, isTombstone: record === null })),
    )
    const states: [number, bigint, boolean][] = []
    for await (const batch of reader.states(0, Number.MAX_SAFE_INTEGER, last))
      states.push(
        ...batch.map(({ oid, tid, start }): [number, bigint, boolean] => [oid, tid, start === undefined]),
      )
    expect(states).toEqual(revisions.map(({ oid, tid, record }) => [oid, tid, record === null]))
    const records = await reader.records(revisions)
    for (const [index, { oid, record }] of revisions.entries()) {
      const read = records[index]
      if (record === null) expect(read).toBeUndefined()
      else expectBytes(read !== undefined && 'bytes' in read ? read.bytes : undefined, record, String(oid))
    }
    const alive = stateAt(history, last)
    const asked = [...oids.toReversed(), toOid(1e9)]
    expect(await reader.exist(asked, last)).toEqual(asked.map(oid => alive.has(oid)))
    const listed: Oid[] = []
    for await (const batch of reader.oids()) listed.push(...batch)
    expect(listed).toEqual(listed.toSorted((a, b) => a - b))
    for (const oid of alive.keys()) expect(listed).toContain(oid)
    reader.close()
  }
}

async function expectIdentities(store: Store, history: History): Promise<void> {
  const at = await store.lastTid()
  const state = stateAt(history, at)
  const oids = [...new Set(history.flatMap(({ records }) => [...records.keys()]))]
  const texts = (await store.identities?.(oids, at)) ?? []
  const known = new Map<string, Uint8Array>()
  for (const [index, oid] of oids.entries()) {
    const [text, record] = [texts[index], state.get(oid)?.record]
    expect(text === undefined, String(oid)).toBe(record === undefined)
    if (text === undefined || record === undefined) continue
    expectBytes(known.get(text) ?? record, record, text)
    known.set(text, record)
  }
}

test('copies large slices of the base in parts, as one transaction or none', async () => {
  const { path } = await makeParent(7)
  const main = await opened(path)
  const [source] = await newOids(main, 1)
  const body = Buffer.alloc(2 << 20, 'abc')
  const made = await main.commit({
    changes: [{ oid: source!, base: TID_NONE, record: { head: Uint8Array.of(9), body: [body] } }],
  })
  await createBranch(path, 'big', made)
  const branch = await opened(branchPath(path, 'big'))
  const before = await branch.lastTid()
  const oids = await newOids(branch, 40)
  const slice = { oid: source!, tid: made, off: 1, len: body.length }
  const changes = oids.map((oid, index): ObjectChange => ({
    oid,
    base: TID_NONE,
    record: { head: Uint8Array.of(index), body: slice },
  }))
  // The last change conflicts: nothing of the transaction stays.
  const conflict = { oid: ROOT_OID, base: TID_NONE, record: { head: ROOT } }
  expect(await codeOf(branch.commit({ changes: [...changes, conflict] }))).toBe('conflict')
  expect(await branch.lastTid()).toBe(before)
  expect(await branch.load(oids, toTid(before + (1n << 40n)))).toEqual(oids.map(() => undefined))
  const tid = await branch.commit({ changes, description: 'copies' })
  const infos: { tid: Tid; objects: number }[] = []
  for await (const info of branch.transactions({ after: before })) infos.push(info)
  expect(infos).toMatchObject([{ tid, objects: 40, description: 'copies' }])
  for (const [index, oid] of oids.entries()) {
    const part = await branch.loadPart(oid, tid, 0, body.length + 1)
    expectBytes(part?.bytes, Buffer.concat([Uint8Array.of(index), body]), String(oid))
  }
})

test('is refused without its database, for another one, and where the base was dropped', async () => {
  const { path, history } = await makeParent(11)
  const base = history[3]!.tid
  expect(await codeOf(openDatabase(branchPath(path, 'none'), { create: true }))).toBe('no-branch')
  await createBranch(path, 'a', base)
  expect(await codeOf(createBranch(path, 'a', base))).toBe('branch-exists')
  expect(await branchNames(path)).toEqual(['a'])
  expect(await codeOf(createBranch(path, 'b', toTid(1n)))).toBe('no-file-system')
  const main = await openDatabase(path)
  await main.capabilities.packing?.keep({ from: history[5]!.tid, earlier: [] })
  await main.close()
  expect(await codeOf(openDatabase(branchPath(path, 'a')))).toBe('base-dropped')
  expect(await codeOf(createBranch(path, 'c', base))).toBe('no-moment')
  const other = await makeParent(12)
  await createBranch(other.path, 'x', other.history[2]!.tid)
  await removeBranchFiles(other.path, 'x')
  expect(existsSync(dirname(branchPath(other.path, 'x')))).toBe(false)
})

test('names of branches', () => {
  for (const name of ['', '.a', 'a/b', '-x', 'a b', 'x.zblk', 'x.zblk-log', 'a'.repeat(101), 'é'])
    expect(() => branchPath('/db', name), name).toThrow('cannot be the name')
  expect(branchPath('/db', 'v1.2_x')).toBe('/db-branches/v1.2_x.zblk')
  expect(branchPlace('/db-branches/v1.2_x.zblk')).toEqual({ database: '/db', name: 'v1.2_x' })
  for (const path of [
    '/db',
    '/db-branches/x',
    '/branches/x.zblk',
    '/-branches/x.zblk',
    'postgres://h/db-branches/x.zblk',
  ])
    expect(branchPlace(path), path).toBeUndefined()
  expect(branchPath('/db-branches/x.zblk', 'y')).toBe('/db-branches/x.zblk-branches/y.zblk')
  expect(branchPlace('/db-branches/x.zblk-branches/y.zblk')).toEqual({
    database: '/db-branches/x.zblk',
    name: 'y',
  })
  expect(branchAt('/db', 'x')).toEqual({ database: '/db', name: 'x' })
  expect(branchAt('/db', 'x/y')).toEqual({ database: '/db-branches/x.zblk', name: 'y' })
  for (const names of ['/y', 'x//y', '../y']) expect(() => branchAt('/db', names), names).toThrow('cannot be')
  expect(() => branchPath('postgres://h/db', 'y')).toThrow('is on a server')
})
