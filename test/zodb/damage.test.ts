import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Tuple } from '../../core/objects/pickle/value.ts'
import { encodeRecord } from '../../core/objects/record.ts'
import { ErrnoError } from '../../core/file-system/errno.ts'
import { explain } from '../../scripts/advice.ts'
import { CommandError } from '../../scripts/failure.ts'
import { importDatabase } from '../../core/foreign/import/import-database.ts'
import { StoreError } from '../../store/errors.ts'
import { openFileStorage } from '../../store/filestorage/file-storage.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { fileStoragePaths, temporaryDirectory, type ForeignPaths } from '../mount/zodb/foreign-paths.ts'
import * as made from '../mount/zodb/hand-made.ts'
import { Random } from '../stress/random.ts'
import { DATABASES } from './manifest.ts'

const small = DATABASES.find(({ name, missing }) => name === 'py3_pickle3' && !missing) ?? DATABASES[0]!
/** At how many places a database is cut. */
const CUTS = 100
/** As much as damage may make of a file: sizes may be absurd, and then are not read to their ends. */
const READ_MAX = 16 << 20

/** What failed, in words; '' where nothing did. @throws whatever is no error that was made on purpose */
async function reasonOf(doing: () => Promise<unknown>): Promise<string> {
  try {
    await doing()
    return ''
  } catch (error) {
    if (error instanceof StoreError || error instanceof ErrnoError || error instanceof CommandError)
      return error instanceof StoreError ? explain(error) : error.message
    throw error
  }
}

/** Lists and reads everything that a mount shows. */
async function readAll(paths: ForeignPaths, path = 'root', depth = 0): Promise<string> {
  const reasons: string[] = []
  reasons.push(
    await reasonOf(async () => {
      for (const name of await paths.list(path)) {
        const below = `${path}/${name}`
        reasons.push(
          await reasonOf(async () => {
            const { mode } = await paths.stat(below)
            if ((mode & 0o170000) === 0o040000) {
              if (depth < 3) reasons.push(await readAll(paths, below, depth + 1))
              return
            }
            const opened = await paths.open(below, 0)
            try {
              await paths.readAt(opened, 0n, READ_MAX)
            } finally {
              await paths.close(opened)
            }
          }),
        )
      }
    }),
  )
  return reasons.filter(reason => reason !== '').join('\n')
}

const mountAll = (path: string): Promise<string> =>
  reasonOf(async () => {
    const paths = await fileStoragePaths(path)
    const reasons = await readAll(paths)
    await paths.zodb.close()
    if (reasons !== '') throw new StoreError(reasons)
  })

const importAll = (path: string, history: boolean): Promise<string> =>
  reasonOf(async () => {
    const directory = temporaryDirectory()
    const source = await openFileStorage(path, { cacheDirectory: directory })
    try {
      const target = await openSqliteStore(join(directory, 'db'), { create: true })
      try {
        await importDatabase({ source, target, mapPath: join(directory, 'map'), into: '', history })
      } finally {
        await target.close()
      }
    } finally {
      await source.close()
    }
  })

describe('a damaged database', () => {
  it('truncated anywhere is mounted at an earlier state, or refused with a message', async () => {
    const bytes = readFileSync(small.path)
    const path = join(temporaryDirectory(), 'Data.fs')
    let failures = 0
    for (let end = 0; end < bytes.length; end += Math.max(1000, Math.ceil(bytes.length / CUTS))) {
      writeFileSync(path, bytes.subarray(0, end))
      if ((await mountAll(path)) !== '') failures++
    }
    expect(failures).toBeGreaterThan(0)
  })

  it('with flipped bytes causes errors with messages, or other data', async () => {
    const bytes = readFileSync(small.path)
    const seed = Number(process.env['FC_SEED'] ?? Random.seed())
    console.log(`seed ${seed}`)
    const random = new Random(seed)
    const path = join(temporaryDirectory(), 'Data.fs')
    const reasons = new Set<string>()
    const rounds = bytes.length > 1 << 20 ? 50 : 150
    for (let i = 0; i < rounds; i++) {
      const damaged = Buffer.from(bytes)
      // Most flips would hit data, which nothing guards; records that are not data are at the file's ends.
      const span = i % 3 === 0 ? bytes.length : 9000
      for (let flips = 1 + random.below(4); flips > 0; flips--) {
        const at = random.next() < 0.5 ? random.below(span) : bytes.length - 1 - random.below(span)
        damaged[at] = damaged[at]! ^ (1 << random.below(8))
      }
      writeFileSync(path, damaged)
      reasons.add(await mountAll(path))
      if (i % 5 === 0) reasons.add(await importAll(path, i % 2 === 0))
    }
    expect(reasons.size).toBeGreaterThan(3)
    for (const reason of reasons) expect(reason).not.toMatch(/undefined|\[object|TypeError|RangeError/)
  })

  const file = { 1: made.bigFile(4096, 2) }
  const root = { 0: made.mapping({ file: made.ref(1, made.ZBIGFILE) }) }
  const bucket = encodeRecord(made.LOBUCKET, new Tuple([new Tuple([])]))
  const node = (first: number): Uint8Array =>
    encodeRecord(
      made.LOTREE,
      new Tuple([new Tuple([made.ref(first, made.LOTREE)]), made.ref(9, made.LOBUCKET)]),
    )
  const cases: readonly (readonly [string, Record<number, Uint8Array>, RegExp])[] = [
    [
      'a file whose tree is not a tree',
      { ...root, ...file, 2: made.mapping({}) },
      /referred to as a BTrees.LOBTree.LOBTree|is not part of a file/,
    ],
    ['a tree that is its own child', { ...root, ...file, 2: node(2), 9: bucket }, /has a loop/],
    ['two trees that are each other', { ...root, ...file, 2: node(3), 3: node(2), 9: bucket }, /has a loop/],
    [
      'a block of an unknown class',
      { ...root, ...file, 2: made.tree(made.LOTREE, 0, made.ref(3, 'os.system')) },
      /os\.system/,
    ],
    [
      'a block longer than a block',
      {
        ...root,
        ...file,
        2: made.tree(made.LOTREE, 0, made.ref(3, made.ZBLK0)),
        3: made.data(made.ZBLK0, 'x'.repeat(5000)),
      },
      /longer than a block/,
    ],
    [
      'chunks that overlap',
      {
        ...root,
        ...file,
        2: made.tree(made.LOTREE, 0, made.ref(3, made.ZBLK1)),
        3: encodeRecord(made.ZBLK1, made.ref(4, made.IOTREE)),
        4: made.tree(made.IOTREE, 0, made.ref(5, made.ZDATA), 10, made.ref(6, made.ZDATA)),
        5: made.data(made.ZDATA, 'x'.repeat(20)),
        6: made.data(made.ZDATA, 'x'),
      },
      /overlaps/,
    ],
    ['a block size of nothing', { ...root, 1: made.bigFile(0, 2), 2: made.tree(made.LOTREE) }, /block size/],
    [
      'a block size beyond memory',
      { ...root, 1: made.bigFile(2 ** 40, 2), 2: made.tree(made.LOTREE) },
      /block size/,
    ],
    [
      'a negative block number',
      {
        ...root,
        ...file,
        2: made.tree(made.LOTREE, -1, made.ref(3, made.ZBLK0)),
        3: made.data(made.ZBLK0, 'x'),
      },
      /negative number/,
    ],
    [
      'a pickle bomb for a file',
      {
        ...root,
        1: Buffer.concat([
          made.bigFile(4096, 2).subarray(0, 42),
          Buffer.from('(l'.repeat(500_000)),
          Buffer.from('.'),
        ]),
      },
      /damaged/,
    ],
  ]

  it.each(cases)('with %s is reported by the mount and by the import', async (_, records, expected) => {
    const path = made.madeUpFile(records)
    for (const printed of [await mountAll(path), await importAll(path, false), await importAll(path, true)]) {
      expect(printed).toMatch(expected)
      expect(printed).toContain(`check ${path} with ZODB's fsrefs`)
    }
  })

  it('with a reference to a missing object is reported by the mount, and imported as it is', async () => {
    const path = made.madeUpFile({ ...root, ...file })
    expect(await mountAll(path)).toMatch(/object 0000000000000002 does not exist/)
    for (const history of [false, true]) expect(await importAll(path, history)).toBe('')
  })

  it('without a root is refused', async () => {
    const path = made.madeUpFile({ 1: made.mapping({}) })
    expect(await mountAll(path)).toContain('has no root object')
  })
})
