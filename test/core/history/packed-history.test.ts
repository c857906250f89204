/** A history after a pack: kept moments are unchanged, the others are gone, and the log is readable. */
import { expect, test } from 'vitest'
import { differences } from '../../../core/history/difference.ts'
import { log } from '../../../core/history/log.ts'
import { pack } from '../../../core/pack/pack.ts'
import { taggedMoments } from '../../../core/pack/moments.ts'
import { historyOf } from '../../../mount/daemon/history-calls.ts'
import { formatTid, type Tid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { Random } from '../../stress/random.ts'
import { codeOf } from '../../tools/paths.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'
import { treeOf } from '../../tools/tree-hash.ts'

const TRANSACTIONS = 40
const TAGGED = 7
const KEPT_FROM = 25
const FILES = 6
const SIZE = 100_000

test('after a pack kept moments are unchanged, others are gone, and log and diff work', async () => {
  const seed = Random.seed()
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  const path = temporaryDatabase()
  const paths = await openPaths(path, { commitIntervalMs: 1e9 })
  const moments: { readonly tid: Tid; readonly tree: string }[] = []
  for (let i = 0; i < TRANSACTIONS; i++) {
    const name = `file${random.below(FILES)}`
    await paths.write(name, Buffer.alloc(1 + random.below(9000), i + 1), BigInt(random.below(SIZE)))
    if (i % 5 === 4) await historyOf(paths.fs).clone(name, `clone${i}`)
    if (i === TAGGED) await historyOf(paths.fs).tag('kept')
    moments.push({ tid: await paths.fs.sync(), tree: await treeOf(paths, '') })
  }
  await paths.fs.close()

  const store = await openSqliteStore(path)
  await pack(store, { from: moments[KEPT_FROM]!.tid, moments: () => taggedMoments(store) })
  await store.close()

  const packed = await openPaths(path)
  for (const [i, { tid, tree }] of moments.entries()) {
    const at = `@${formatTid(tid)}`
    if (i >= KEPT_FROM) expect(await treeOf(packed, at), at).toBe(tree)
    else if (i < TAGGED - 1) expect(await codeOf(packed.stat(at)), at).toBe('ENOENT')
  }
  expect(await treeOf(packed, '')).toBe(moments.at(-1)!.tree)
  expect((await packed.list('@kept')).length).toBeGreaterThan(0)
  await packed.fs.close()

  const reader = await openSqliteStore(path, { readOnly: true })
  const logged: Tid[] = []
  for await (const { info } of log(reader)) logged.push(info.tid)
  for (const { tid } of moments.slice(KEPT_FROM)) expect(logged).toContain(tid)
  let changed = 0
  for await (const { path } of differences(reader, moments[KEPT_FROM]!.tid, moments.at(-1)!.tid))
    changed += path.length > 0 ? 1 : 0
  expect(changed).toBeGreaterThan(0)
  await reader.close()
})
