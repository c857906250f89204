/**
 * A pack that visits only changed objects keeps and frees the same as one that marks every object: random histories of a filesystem,
 * packed again and again, beside copies of the database that remember nothing.
 */
import { cpSync, existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import Sqlite from 'better-sqlite3'
import { expect, test } from 'vitest'
import { edges, mark } from '../../../core/pack/mark.ts'
import { pack } from '../../../core/pack/pack.ts'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { open } from '../../../index.ts'
import { parseTid, TID_NONE, type Tid } from '../../../store/ids.ts'
import { keptMoments, type KeptMoments } from '../../../store/kept-moments.ts'
import { PackRun } from '../../../store/indexed/pack/pack-run.ts'
import { MARK } from '../../../store/indexed/pack/mark-memory.ts'
import { markPath, openMarkMemory } from '../../../store/sqlite/pack/mark-file.ts'
import { logDirectory } from '../../../store/sqlite/log.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { openRevisionReader } from '../../../store/sqlite/revision-reader.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'
import { checkTables, seeded, storedRevisions } from './object-model.ts'
import { Tree } from './random-tree.ts'

const SEEDS = (process.env['ZBLKFS_TEST_SEEDS'] ?? '1 2').split(' ').map(Number)
const ROUNDS = Number(process.env['ZBLKFS_TEST_ROUNDS'] ?? 4)
const UNREACHABLE = 'objects are unreachable'

/** Copies a database, without what packs remember, while nothing is committed. */
async function copyOf(path: string): Promise<string> {
  const copy = temporaryDatabase()
  const db = new Sqlite(path, { readonly: true })
  await db.backup(copy)
  db.close()
  const copied = new Sqlite(copy)
  copied.exec("DELETE FROM meta WHERE name = 'written to as inode'")
  copied.close()
  if (existsSync(logDirectory(path))) cpSync(logDirectory(path), logDirectory(copy), { recursive: true })
  rmSync(markPath(copy), { force: true })
  return copy
}

class Killed extends Error {}

/** Packs, and ends like a killed process before a step or a pause. Resolves to whether it was ended. */
async function packKilled(path: string, kept: KeptMoments, endAt: number): Promise<boolean> {
  const store = await openSqliteStore(path)
  const reader = openRevisionReader(path, undefined)
  let left = endAt
  const count = (): void => {
    if (left-- <= 0) throw new Killed()
  }
  try {
    await store.capabilities.packing?.keep(kept)
    await new PackRun({
      reader,
      kept,
      marker: { mark, edges },
      openMemory: isTemporary => openMarkMemory(path, isTemporary),
      spareBytes: 0,
      commitMs: 0,
      outside: {
        step: async step => {
          count()
          return await store.packStep(step)
        },
        progress: () => {},
        pause: () => {
          count()
          return undefined
        },
      },
    }).run()
    return false
  } catch (error) {
    if (error instanceof Killed) return true
    throw error
  } finally {
    reader.close()
    await store.close()
  }
}

async function damages(path: string): Promise<readonly string[]> {
  const found: string[] = []
  const report = (damage: unknown): void =>
    void found.push(
      JSON.stringify(damage, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)),
    )
  const { unreachable } = await checkDatabase(path, { data: true, repair: false, report, progress: () => {} })
  if (unreachable > 0) found.push(`${unreachable} ${UNREACHABLE}`)
  return found
}

test.each(SEEDS)('keeps what a mark of all objects keeps: seed %i', { timeout: 600_000 }, async seed => {
  const random = seeded(seed)
  const path = temporaryDatabase()
  const tree = new Tree(path, random)
  await tree.mount()
  let tags: Tid[] = []
  let kept = keptMoments(TID_NONE, [])
  for (let round = 0; round < ROUNDS; round++) {
    await tree.change()
    tags = tags.filter(() => random(4) > 0)
    if (random(2) === 0) tags.push(tree.tids.at(-1) ?? TID_NONE)
    const isKilled = round % 2 === 1
    if (isKilled) await tree.unmount()
    const newer = tree.tids.filter(tid => tid >= kept.from)
    const from = random(4) === 0 ? newer.at(-1) : newer[random(newer.length)]
    kept = keptMoments(from ?? kept.from, tags)
    const copy = await copyOf(path)
    if (isKilled) {
      for (let endAt = random(4); await packKilled(path, kept, endAt); endAt += 1 + random(6));
      await tree.mount()
    }
    await tree.pack(kept)
    const before = await damages(copy)
    expect(before.filter(damage => !damage.includes(UNREACHABLE))).toEqual([])
    await packCopy(copy, kept)
    expect(storedRevisions(path)).toEqual(storedRevisions(copy))
    checkTables(path)
    const after = await damages(path)
    expect(after.filter(damage => !before.includes(damage))).toEqual([])
  }
  await tree.unmount()
})

/** Packs with this process's marker; resolves to the number of records whose references were read. */
async function packCounted(path: string, kept: KeptMoments): Promise<number> {
  const store = await openSqliteStore(path)
  const reader = openRevisionReader(path, undefined)
  let records = 0
  try {
    await store.capabilities.packing?.keep(kept)
    const counting = {
      ...edges,
      of(...record: Parameters<typeof edges.of>) {
        records++
        return edges.of(...record)
      },
    }
    await new PackRun({
      reader,
      kept,
      marker: {
        edges: counting,
        mark: (...work) => {
          records += 1e6
          return mark(...work)
        },
      },
      openMemory: isTemporary => openMarkMemory(path, isTemporary),
      spareBytes: 0,
      outside: { step: step => store.packStep(step), progress: () => {}, pause: () => undefined },
    }).run()
    return records
  } finally {
    reader.close()
    await store.close()
  }
}

const ALL_RECORDS = 1e6

/** A database of many small files, packed; then one of them changes. */
async function packedAndChanged(): Promise<{
  readonly path: string
  readonly change: () => Promise<KeptMoments>
}> {
  const path = temporaryDatabase()
  const tree = new Tree(path, seeded(1))
  await tree.mount()
  await tree.write(400)
  await tree.unmount()
  const change = async (): Promise<KeptMoments> => {
    await tree.mount()
    await tree.write(1)
    await tree.unmount()
    return keptMoments(tree.tids.at(-1) ?? TID_NONE, [])
  }
  return { path, change }
}

test('reads what has changed, and no more', async () => {
  const { path, change } = await packedAndChanged()
  expect(await packCounted(path, await change()), 'the first time').toBeGreaterThanOrEqual(ALL_RECORDS)
  expect(await packCounted(path, await change())).toBeLessThan(60)
  expect(await packCounted(path, await change())).toBeLessThan(60)
  checkTables(path)
})

test('a memory of another time, or a damaged one, does not count', async () => {
  const { path, change } = await packedAndChanged()
  await packCounted(path, await change())
  cpSync(markPath(path), `${path}.mark`)
  await packCounted(path, await change())
  cpSync(`${path}.mark`, markPath(path))
  expect(await packCounted(path, await change()), 'an older one').toBeGreaterThanOrEqual(ALL_RECORDS)
  writeFileSync(markPath(path), readFileSync(markPath(path)).fill(0x55, 4096))
  expect(await packCounted(path, await change()), 'a damaged one').toBeGreaterThanOrEqual(ALL_RECORDS)
  rmSync(markPath(path))
  symlinkSync(`${path}.mark`, markPath(path))
  expect(await packCounted(path, await change()), 'a link').toBeGreaterThanOrEqual(ALL_RECORDS)
  rmSync(markPath(path))
  expect(await packCounted(path, await change()), 'none').toBeGreaterThanOrEqual(ALL_RECORDS)
  const store = await openSqliteStore(path, { readOnly: true })
  const repair = await store.capabilities.checking?.beginRepair('a test')
  await store.close()
  await repair?.mend(true)
  await repair?.end()
  expect(await packCounted(path, await change()), 'after a repair').toBeGreaterThanOrEqual(ALL_RECORDS)
  expect(await packCounted(path, await change())).toBeLessThan(60)
  checkTables(path)
  expect(await damages(path)).toEqual([])
})

test('a plan that was made before an older index was put back does not count', async () => {
  const { path, change } = await packedAndChanged()
  await packCounted(path, await change())
  cpSync(path, `${path}.old`)
  // Killed once it is planned to drop the state that the older index shows.
  const kept = await change()
  const phase = (): string | undefined => {
    const memory = openMarkMemory(path, false)
    try {
      return memory.state()?.phase
    } finally {
      memory.close()
    }
  }
  for (let endAt = 0; phase() !== 'planned'; endAt++) expect(await packKilled(path, kept, endAt)).toBe(true)
  cpSync(`${path}.old`, path)
  const db = await open(path)
  const before = await db.files.readFile('/d0/0')
  await db.files.writeFile('/other', 'x')
  const tid = parseTid(await db.sync()) ?? TID_NONE
  await db.close()
  expect(await packCounted(path, keptMoments(tid, []))).toBeGreaterThanOrEqual(ALL_RECORDS)
  expect(await damages(path)).toEqual([])
  const after = await open(path, { readOnly: true })
  expect((await after.files.readFile('/d0/0')).equals(before)).toBe(true)
  await after.close()
})

/** Marks every object. */
async function packCopy(copy: string, kept: KeptMoments): Promise<void> {
  const store = await openSqliteStore(copy)
  await store.setNote(MARK, '')
  await pack(store, { from: kept.from, moments: () => Promise.resolve(kept.earlier) })
  await store.close()
}
