/**
 * Random operations on a filesystem and on a model of it in plain maps, with commits and reopenings in between:
 * results, errors, names and contents must be the same all along. A run prints its seed when it fails.
 */
import * as fc from 'fast-check'
import { constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { MemoryDatabase, MemoryStore } from '../../../store/memory/memory-store.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { Model } from '../../tools/file-system-model.ts'
import { perform, step, type Step } from '../../tools/file-system-steps.ts'
import { TestStore } from '../../tools/test-store.ts'
import { Paths } from '../../tools/paths.ts'

const RUNS = Number(process.env['ZBLKFS_MODEL_RUNS'] ?? 60)

/** If both paths are wrong, either error may be reported. */
const known = (code: string): string => (code === 'ENOTDIR' ? 'ENOENT' : code)

async function compare(paths: Paths, model: Model): Promise<void> {
  const found: Record<string, string> = {}
  const walk = async (top: string): Promise<void> => {
    for (const name of await paths.list(top, 3)) {
      const at = top === '' ? name : `${top}/${name}`
      const { mode, nlink, size } = await paths.stat(at)
      if ((mode & constants.S_IFMT) === constants.S_IFDIR) {
        found[at] = `directory ${nlink}`
        await walk(at)
      } else {
        const bytes = await paths.read(at)
        expect(bytes).toHaveLength(Number(size))
        found[at] = `file ${nlink} ${Model.digest(bytes)}`
      }
    }
  }
  await walk('')
  expect(found).toEqual(model.listing())
}

async function run(steps: readonly Step[], open: () => Promise<FileSystem>, close: boolean): Promise<void> {
  const model = new Model()
  let paths = new Paths(await open())
  for (const one of steps) {
    if (one.do === 'reopen') {
      await (close ? paths.fs.close() : paths.fs.sync())
      paths = new Paths(await open())
    } else expect([one, known(await perform(paths, one))]).toEqual([one, known(model.perform(one))])
  }
  await compare(paths, model)
  await paths.fs.close()
  if (!close) return
  paths = new Paths(await open())
  await compare(paths, model)
  await paths.fs.close()
}

test('random operations match a model, on a store in memory', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120, size: 'max' }), async steps => {
      const store = new TestStore()
      await run(steps, () => FileSystem.open(store, { dirtySizeBytes: 1 << 20, cacheSizeBytes: 1 }), false)
    }),
    { numRuns: RUNS },
  )
})

test('random operations match a model, on SQLite', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 200, size: 'max' }), async steps => {
      const directory = mkdtempSync(join(tmpdir(), 'zblkfs-test-'))
      const open = async (): Promise<FileSystem> =>
        FileSystem.open(await openSqliteStore(join(directory, 'db'), { create: true }), {
          dirtySizeBytes: 1 << 20,
        })
      try {
        await run(steps, open, true)
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    }),
    { numRuns: Math.ceil(RUNS / 20) },
  )
})

/**
 * As {@link run}, in delimited transactions that are stored in parts: every `sync` ends one, by turns with a commit and a rollback, and begins the
 * next; `reopen` ends the process without ending the transaction.
 */
async function runInParts(
  steps: readonly Step[],
  open: () => Promise<FileSystem>,
  crash: (fs: FileSystem) => Promise<void>,
): Promise<void> {
  let stored: Step[] = []
  let since: Step[] = []
  const modelOf = (all: readonly Step[]): Model => {
    const model = new Model()
    for (const one of all) model.perform(one)
    return model
  }
  let paths = new Paths(await open())
  let model = new Model()
  let ends = 0
  await paths.fs.history?.begin()
  for (const one of steps) {
    if (one.do !== 'sync' && one.do !== 'reopen') {
      expect([one, known(await perform(paths, one))]).toEqual([one, known(model.perform(one))])
      since.push(one)
      continue
    }
    await compare(paths, model)
    if (one.do === 'sync' && ends++ % 2 === 0) {
      await paths.fs.history?.commit()
      stored = [...stored, ...since]
    } else if (one.do === 'sync') await paths.fs.history?.rollBack()
    else {
      await crash(paths.fs)
      paths = new Paths(await open())
    }
    model = modelOf(stored)
    since = []
    await compare(paths, model)
    await paths.fs.history?.begin()
  }
  await compare(paths, model)
  await paths.fs.history?.commit()
  await compare(paths, model)
  await paths.fs.close()
}

test('random operations in transactions larger than memory match a model, on a store in memory', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120, size: 'max' }), async steps => {
      let database = new MemoryDatabase()
      const open = async (): Promise<FileSystem> =>
        await FileSystem.open(new MemoryStore(database), { dirtySizeBytes: 50_000, cacheSizeBytes: 1 })
      await runInParts(steps, open, async () => void (database = database.copy()))
    }),
    { numRuns: Math.ceil(RUNS / 3) },
  )
})

test('random operations in transactions larger than memory match a model, on SQLite', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120, size: 'max' }), async steps => {
      const directory = mkdtempSync(join(tmpdir(), 'zblkfs-test-'))
      const open = async (): Promise<FileSystem> =>
        FileSystem.open(await openSqliteStore(join(directory, 'db'), { create: true }), {
          dirtySizeBytes: 50_000,
        })
      try {
        await runInParts(steps, open, fs => fs.close())
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    }),
    { numRuns: Math.ceil(RUNS / 20) },
  )
})
