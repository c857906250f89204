/**
 * Random operations on a filesystem and on a model of it in plain maps, with commits and reopenings in between:
 * results, errors, names and contents must be the same all along. A run prints its seed when it fails.
 */
import * as fc from 'fast-check'
import { constants, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { FileSystem } from '../../../mount/file-system.ts'
import { openSqliteStore } from '../../../store/sqlite/open-sqlite-store.ts'
import { Model, type Step } from '../../tools/file-system-model.ts'
import { MemoryStore } from '../../tools/memory-store.ts'
import { codeOf, Paths, type OpenedFile } from '../../tools/paths.ts'

const RUNS = Number(process.env['ZBLKFS_MODEL_RUNS'] ?? 60)

const name = fc.constantFrom('a', 'b', 'c', 'd')
const path = fc.oneof(
  name,
  fc.tuple(name, name).map(parts => parts.join('/')),
  fc.tuple(name, name, name).map(parts => parts.join('/')),
)
const off = fc.oneof(fc.nat(20_000), fc.constantFrom(4096, 8192, 2 << 20, (2 << 20) - 5, (4 << 20) + 4096))
const length = fc.oneof(fc.nat(10_000), fc.constantFrom(4096, 8192, 70_000))

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('mkdir' as const), path }),
  fc.record({ do: fc.constant('write' as const), path, off, length, fill: fc.integer({ min: 1, max: 255 }) }),
  fc.record({ do: fc.constant('truncate' as const), path, off }),
  fc.record({ do: fc.constant('punch' as const), path, off, length }),
  fc.record({ do: fc.constant('unlink' as const), path }),
  fc.record({ do: fc.constant('rmdir' as const), path }),
  fc.record({ do: fc.constant('rename' as const), path, to: path }),
  fc.record({ do: fc.constant('exchange' as const), path, to: path }),
  fc.record({ do: fc.constant('link' as const), path, to: path }),
  fc.record({ do: fc.constant('copy' as const), path, to: path, off, length }),
  fc.record({ do: fc.constant('sync' as const) }),
  fc.record({ do: fc.constant('reopen' as const) }),
)

const PUNCH = { keepSize: true, punchHole: true, zeroRange: false }

async function withOpen<T>(paths: Paths, path: string, use: (file: OpenedFile) => Promise<T>): Promise<T> {
  const file = await paths.open(path)
  try {
    return await use(file)
  } finally {
    await paths.close(file)
  }
}

/** Two paths may both be wrong; which is told first does not matter. */
const known = (code: string): string => (code === 'ENOTDIR' ? 'ENOENT' : code)

/** Does a step; the code that it fails with, or 'nothing'. */
function perform(paths: Paths, one: Step): Promise<string> {
  const { fs } = paths
  return codeOf(async () => {
    switch (one.do) {
      case 'mkdir':
        return await paths.mkdir(one.path)
      case 'write':
        return await paths.write(one.path, Buffer.alloc(one.length, one.fill), BigInt(one.off))
      case 'truncate':
        return await paths.truncate(one.path, BigInt(one.off))
      case 'punch':
        return await withOpen(paths, one.path, file =>
          fs.allocate(file.ino, file.fh, PUNCH, BigInt(one.off), BigInt(one.length + 1)),
        )
      case 'unlink':
        return await paths.unlink(one.path)
      case 'rmdir':
        return await paths.rmdir(one.path)
      case 'rename':
        return await paths.rename(one.path, one.to)
      case 'exchange':
        return await paths.rename(one.path, one.to, { exchange: true })
      case 'link':
        return await paths.link(one.path, one.to)
      case 'copy':
        return await withOpen(paths, one.path, from =>
          withOpen(paths, one.to, to =>
            fs.copyFileRange(
              { ...from, off: BigInt(one.off) },
              { ...to, off: 1n << 23n },
              BigInt(one.length),
            ),
          ),
        )
      case 'reopen':
      case 'sync':
        await fs.sync()
    }
  })
}

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

test('random operations do what they do in a model, on a store in memory', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120, size: 'max' }), async steps => {
      const store = new MemoryStore()
      await run(steps, () => FileSystem.open(store, { dirtySizeBytes: 1 << 20, cacheSizeBytes: 1 }), false)
    }),
    { numRuns: RUNS },
  )
})

test('random operations do what they do in a model, on SQLite', async () => {
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
