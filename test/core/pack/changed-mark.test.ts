/**
 * A pack that visits only changed objects keeps and frees the same as one that marks every object: random histories of a filesystem,
 * packed again and again, beside copies of the database that remember nothing.
 */
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { edges, mark } from '../../../core/pack/mark.ts'
import { pack } from '../../../core/pack/pack.ts'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { open } from '../../../index.ts'
import { parseTid, TID_NONE, type Tid } from '../../../store/ids.ts'
import { keptMoments, type KeptMoments } from '../../../store/kept-moments.ts'
import { PackRun, type PackRunParts } from '../../../store/indexed/pack/pack-run.ts'
import { MARK, MARK_MEMORY, MarkMemory } from '../../../store/indexed/pack/mark-memory.ts'
import type { PackStep, PackStepResult } from '../../../store/indexed/pack/pack-steps.ts'
import { markPath, openMarkMemory } from '../../../store/sqlite/pack/mark-file.ts'
import { hasPostgres } from '../../tools/postgres-server.ts'
import { seeded } from './object-model.ts'
import { PackedPostgres, PackedSqlite, type Opened, type PackedDatabase } from './packed-databases.ts'
import { RandomTree } from './random-tree.ts'

const SEEDS = (process.env['ZBLKFS_TEST_SEEDS'] ?? '1 2').split(' ').map(Number)
const ROUNDS = Number(process.env['ZBLKFS_TEST_ROUNDS'] ?? 4)
const UNREACHABLE = 'objects are unreachable'

const KINDS: readonly (readonly [string, () => Promise<PackedDatabase>])[] = [
  ['SQLite', () => Promise.resolve(new PackedSqlite())],
  ...(hasPostgres ? ([['PostgreSQL', () => PackedPostgres.make()]] as const) : []),
]

class Killed extends Error {}

/** Packs with this process's marker. */
async function packWith(
  database: PackedDatabase,
  kept: KeptMoments,
  parts: Partial<PackRunParts> & { readonly count?: () => void },
): Promise<void> {
  const opened = await database.open()
  const { store, reader } = opened
  const { count = () => {}, ...rest } = parts
  const runStep = async (step: PackStep): Promise<PackStepResult> => {
    count()
    return await store.packStep(step)
  }
  const outside: PackRunParts['outside'] = {
    step: runStep,
    progress: () => {},
    pause: () => {
      count()
      return undefined
    },
  }
  try {
    await store.capabilities.packing?.keep(kept)
    await new PackRun({
      reader,
      kept,
      marker: { mark, edges },
      openMemory: isTemporary => opened.openMemory(isTemporary, runStep),
      spareBytes: 0,
      outside,
      ...rest,
    }).run()
  } finally {
    reader.close()
    await store.close()
  }
}

/** Packs, and ends like a killed process before a step or a pause. Resolves to whether it was ended. */
async function packKilled(database: PackedDatabase, kept: KeptMoments, endAt: number): Promise<boolean> {
  let left = endAt
  const count = (): void => {
    if (left-- <= 0) throw new Killed()
  }
  try {
    await packWith(database, kept, { commitMs: 0, count })
    return false
  } catch (error) {
    if (error instanceof Killed) return true
    throw error
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

describe.each(KINDS)('%s', (_, make) => {
  test.each(SEEDS)('keeps what a mark of all objects keeps: seed %i', { timeout: 600_000 }, async seed => {
    const random = seeded(seed)
    const database = await make()
    const tree = new RandomTree(() => database.openStore(), random)
    await tree.mount()
    let tags: Tid[] = []
    let kept = keptMoments(TID_NONE, [])
    for (let round = 0; round < ROUNDS; round++) {
      await tree.change()
      tags = tags.filter(() => random(4) > 0)
      if (random(2) === 0) tags.push(tree.tids.at(-1) ?? TID_NONE)
      const isKilled = round % 2 === 1
      const isMounted = !isKilled && database.isCopiedOpen
      if (!isMounted) await tree.unmount()
      const newer = tree.tids.filter(tid => tid >= kept.from)
      const from = random(4) === 0 ? newer.at(-1) : newer[random(newer.length)]
      kept = keptMoments(from ?? kept.from, tags)
      const copy = await database.copy()
      if (isKilled)
        for (let endAt = random(4); await packKilled(database, kept, endAt); endAt += 1 + random(6));
      if (!isMounted) await tree.mount()
      await tree.pack(kept)
      const before = await damages(copy.path)
      expect(before.filter(damage => !damage.includes(UNREACHABLE))).toEqual([])
      await packAll(copy, kept)
      expect(await database.revisions()).toEqual(await copy.revisions())
      await database.checkTables()
      const after = await damages(database.path)
      expect(after.filter(damage => !before.includes(damage))).toEqual([])
    }
    await tree.unmount()
  })

  test('reads what has changed, and no more', { timeout: 60_000 }, async () => {
    const { database, change } = await packedAndChanged(make)
    expect(await packCounted(database, await change()), 'the first time').toBeGreaterThanOrEqual(ALL_RECORDS)
    expect(await packCounted(database, await change())).toBeLessThan(60)
    expect(await packCounted(database, await change())).toBeLessThan(60)
    await database.checkTables()
  })

  test('a memory that an earlier version has left alone, or from before a repair, does not count', async () => {
    const { database, change } = await packedAndChanged(make)
    await packCounted(database, await change())
    await packWith(database, await change(), { openMemory: () => MarkMemory.temporary() })
    expect(await packCounted(database, await change()), 'after a pack without it').toBeGreaterThanOrEqual(
      ALL_RECORDS,
    )
    const { store, reader } = await database.open()
    reader.close()
    await store.close()
    const opened = await database.openReader()
    const repair = await opened.capabilities.checking?.beginRepair('a test')
    await opened.close()
    await repair?.mend(true)
    await repair?.end()
    expect(await packCounted(database, await change()), 'after a repair').toBeGreaterThanOrEqual(ALL_RECORDS)
    expect(await packCounted(database, await change())).toBeLessThan(60)
    await database.checkTables()
    expect(await damages(database.path)).toEqual([])
  })
})

/** Resolves to the number of records whose references were read. */
async function packCounted(database: PackedDatabase, kept: KeptMoments): Promise<number> {
  let records = 0
  const counting = {
    ...edges,
    of(...record: Parameters<typeof edges.of>) {
      records++
      return edges.of(...record)
    },
  }
  await packWith(database, kept, {
    marker: {
      edges: counting,
      mark: (...work) => {
        records += ALL_RECORDS
        return mark(...work)
      },
    },
  })
  return records
}

const ALL_RECORDS = 1e6

/** A database of many small files, packed; then one of them changes. */
async function packedAndChanged<T extends PackedDatabase>(
  make: () => Promise<T>,
): Promise<{ readonly database: T; readonly change: () => Promise<KeptMoments> }> {
  const database = await make()
  const tree = new RandomTree(() => database.openStore(), seeded(1))
  await tree.mount()
  await tree.write(400)
  await tree.unmount()
  const change = async (): Promise<KeptMoments> => {
    await tree.mount()
    await tree.write(1)
    await tree.unmount()
    return keptMoments(tree.tids.at(-1) ?? TID_NONE, [])
  }
  return { database, change }
}

test('a file of another time, or a damaged one, does not count', async () => {
  const { database, change } = await packedAndChanged(async () => new PackedSqlite())
  const { path } = database
  await packCounted(database, await change())
  cpSync(markPath(path), `${path}.mark`)
  await packCounted(database, await change())
  cpSync(`${path}.mark`, markPath(path))
  expect(await packCounted(database, await change()), 'an older one').toBeGreaterThanOrEqual(ALL_RECORDS)
  writeFileSync(markPath(path), readFileSync(markPath(path)).fill(0x55, 4096))
  expect(await packCounted(database, await change()), 'a damaged one').toBeGreaterThanOrEqual(ALL_RECORDS)
  rmSync(markPath(path))
  symlinkSync(`${path}.mark`, markPath(path))
  expect(await packCounted(database, await change()), 'a link').toBeGreaterThanOrEqual(ALL_RECORDS)
  rmSync(markPath(path))
  expect(await packCounted(database, await change()), 'none').toBeGreaterThanOrEqual(ALL_RECORDS)
  await database.checkTables()
  expect(await damages(path)).toEqual([])
})

test.runIf(hasPostgres)('a note of another time, or a damaged one, does not count', async () => {
  const { database, change } = await packedAndChanged(() => PackedPostgres.make())
  await packCounted(database, await change())
  const older = await database.note(MARK_MEMORY)
  await packCounted(database, await change())
  const note = await database.note(MARK_MEMORY)
  for (const [what, value] of [
    ['an older one', older],
    ['no base64', '-'],
    ['no SQLite database', Buffer.from('not compressed').toString('base64')],
    ['cut', note.slice(0, note.length / 2)],
    ['none', ''],
  ] as const) {
    await database.setNote(MARK_MEMORY, value)
    expect(await packCounted(database, await change()), what).toBeGreaterThanOrEqual(ALL_RECORDS)
    expect(await packCounted(database, await change()), `after ${what}`).toBeLessThan(60)
  }
  await database.checkTables()
  expect(await damages(database.path)).toEqual([])
})

test('a plan that was made before an older index was put back does not count', async () => {
  const { database, change } = await packedAndChanged(async () => new PackedSqlite())
  const { path } = database
  await packCounted(database, await change())
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
  for (let endAt = 0; phase() !== 'planned'; endAt++)
    expect(await packKilled(database, kept, endAt)).toBe(true)
  cpSync(`${path}.old`, path)
  const db = await open(path)
  const before = await db.files.readFile('/d0/0')
  await db.files.writeFile('/other', 'x')
  const tid = parseTid(await db.sync()) ?? TID_NONE
  await db.close()
  expect(await packCounted(database, keptMoments(tid, []))).toBeGreaterThanOrEqual(ALL_RECORDS)
  expect(await damages(path)).toEqual([])
  const after = await open(path, { readOnly: true })
  expect((await after.files.readFile('/d0/0')).equals(before)).toBe(true)
  await after.close()
})

/** Marks every object. */
async function packAll(database: PackedDatabase, kept: KeptMoments): Promise<void> {
  const { store, reader }: Opened = await database.open()
  reader.close()
  await store.setNote(MARK, '')
  await pack(store, { from: kept.from, moments: () => Promise.resolve(kept.earlier) })
  await store.close()
}
