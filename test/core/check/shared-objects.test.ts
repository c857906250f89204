/** Files that share objects of their data: what a change of one does to others, and what fsck makes of them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { describeDamage, type Damage } from '../../../core/check/damage.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { Connection } from '../../../core/objects/connection.ts'
import type { Ref } from '../../../core/objects/pickle/value.ts'
import { Directory } from '../../../core/tree/directory.ts'
import { Inode } from '../../../core/tree/inode.ts'
import { Superblock } from '../../../core/tree/superblock.ts'
import type { ZBigFile } from '../../../core/zblk/zbigfile.ts'
import type { ZBlk1 } from '../../../core/zblk/zblk.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { Random } from '../../stress/random.ts'
import { copyDatabase } from '../../tools/database-files.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { openPaths } from '../../tools/temporary-database.ts'
import { pattern } from './small-database.ts'

const BLOCK = 2 << 20
const directory = mkdtempSync(join(tmpdir(), 'zblkfs-shared-'))
const original = join(directory, 'original.zblkfs')
let copies = 0

/** Two files with whole blocks and with chunks, and others beside them. */
const CONTENT: Readonly<Record<string, Buffer>> = {
  '/one': Buffer.concat([pattern(2 * BLOCK, 1), pattern(50_000, 2)]),
  '/two': Buffer.concat([pattern(2 * BLOCK, 3), pattern(70_000, 4)]),
  '/other': pattern(90_000, 5),
  '/small': pattern(700, 6),
}

beforeAll(async () => {
  const paths = new Paths(await FileSystem.open(await openSqliteStore(original, { create: true })))
  for (const [name, content] of Object.entries(CONTENT)) await paths.write(name, content)
  await paths.fs.close()
})
afterAll(() => {
  rmSync(directory, { recursive: true, force: true })
})

interface Data {
  readonly inode: Inode
  readonly file: ZBigFile
  readonly block: (blk: number) => Promise<Ref>
  readonly chunks: (blk: number) => Promise<ZBlk1>
}

/** Changes the objects of a copy. */
async function damaged(change: (one: Data, two: Data) => Promise<void>): Promise<string> {
  const path = join(directory, `${++copies}.zblkfs`)
  await copyDatabase(original, path)
  const store = await openSqliteStore(path)
  const connection = await Connection.open(store, { cacheSizeBytes: 1 << 20 })
  const root = Inode.at(connection, await (await Superblock.open(connection)).rootOid())
  await root.activate()
  const dataOf = async (name: string): Promise<Data> => {
    const inode = Inode.at(connection, (await Directory.of(connection, root).get(name))!)
    await inode.activate()
    const file = connection.resolve(inode.data!) as ZBigFile
    await file.activate()
    const block = async (blk: number): Promise<Ref> => (await file.blktab.get(blk)) as Ref
    const chunks = async (blk: number): Promise<ZBlk1> => {
      const found = connection.resolve(await block(blk)) as ZBlk1
      await found.activate()
      return found
    }
    return { inode, file, block, chunks }
  }
  await change(await dataOf('one'), await dataOf('two'))
  await connection.prepare()
  await connection.commit()
  await store.close()
  return path
}

interface Case {
  readonly title: string
  readonly share: (one: Data, two: Data) => Promise<void>
  /** The content of the second file then; absent if it depends on the lengths of chunks. */
  readonly content?: () => Buffer
  readonly named: RegExp
}

const { '/one': ONE = Buffer.alloc(0), '/two': TWO = Buffer.alloc(0) } = CONTENT
const REASON = 'its objects are also elsewhere in the file, or in another file'

const cases: readonly Case[] = [
  {
    title: 'all of their data',
    share: async (one, two) => {
      two.inode.data = one.file.ref
    },
    content: () => Buffer.concat([ONE, Buffer.alloc(20_000)]),
    named: new RegExp(`^/two bytes \\[0, 4264304\\): ${REASON}`, 'm'),
  },
  {
    title: 'all of their data, where the second one is shorter',
    share: async (one, two) => {
      two.inode.data = one.file.ref
      two.inode.size = BigInt(BLOCK + 5000)
    },
    content: () => ONE.subarray(0, BLOCK + 5000),
    named: new RegExp(`^/two bytes \\[0, 2102152\\): ${REASON}`, 'm'),
  },
  {
    title: 'a block that is one record',
    share: async (one, two) => void (await two.file.blktab.set(1, await one.block(0))),
    content: () => Buffer.concat([TWO.subarray(0, BLOCK), ONE.subarray(0, BLOCK), TWO.subarray(2 * BLOCK)]),
    named: new RegExp(`^/two bytes \\[2097152, 4194304\\): ${REASON}`, 'm'),
  },
  {
    title: 'a block of chunks',
    share: async (one, two) => void (await two.file.blktab.set(2, await one.block(2))),
    content: () => Buffer.concat([TWO.subarray(0, 2 * BLOCK), ONE.subarray(2 * BLOCK), Buffer.alloc(20_000)]),
    named: new RegExp(`^/two bytes \\[4194304, \\d+\\): ${REASON}`, 'm'),
  },
  {
    title: 'a tree of chunks',
    share: async (one, two) => (await two.chunks(2)).setChunktab((await one.chunks(2)).chunktab),
    content: () => Buffer.concat([TWO.subarray(0, 2 * BLOCK), ONE.subarray(2 * BLOCK), Buffer.alloc(20_000)]),
    named: new RegExp(`^/two bytes \\[4194304, \\d+\\): ${REASON}`, 'm'),
  },
  {
    title: 'a chunk',
    share: async (one, two) => {
      const chunk = await (await one.chunks(2)).chunktab.get(0)
      await (await two.chunks(2)).chunktab.set(0, chunk ?? null)
    },
    named: new RegExp(`^/two bytes \\[4194304, \\d+\\): ${REASON}`, 'm'),
  },
  {
    title: 'the tree of their blocks',
    share: async (one, two) => two.file.begin(BLOCK, one.file.blktab),
    content: () => Buffer.concat([ONE, Buffer.alloc(20_000)]),
    named: new RegExp(`^/two bytes \\[0, 4264304\\): ${REASON}`, 'm'),
  },
  {
    title: 'a block within one file',
    share: async (_one, two) => void (await two.file.blktab.set(0, await two.block(1))),
    content: () => Buffer.concat([TWO.subarray(BLOCK, 2 * BLOCK), TWO.subarray(BLOCK)]),
    named: new RegExp(`^/two bytes \\[2097152, 4194304\\): ${REASON}`, 'm'),
  },
]

async function check(path: string, repair: boolean): Promise<string> {
  const found: Damage[] = []
  const report = (damage: Damage): unknown => found.push(damage)
  await checkDatabase(path, { data: true, repair, report, progress: () => {} })
  return found.map(damage => describeDamage(damage)).join('\n')
}

async function contentOf(path: string, name: string): Promise<Buffer> {
  const paths = await openPaths(path)
  const content = await paths.read(name)
  await paths.fs.close()
  return content
}

/** Changes both files at random, as their users would, and stores the changes by and by. */
async function change(path: string): Promise<void> {
  const paths = await openPaths(path)
  const { fs } = paths
  const files = [await paths.open('/one'), await paths.open('/two')]
  const random = new Random(7)
  for (let step = 0; step < 60; step++) {
    const { ino, fh } = files[random.below(2)]!
    const off = BigInt(random.below(TWO.length))
    const len = random.below(3) === 0 ? 300_000 : 1 + random.below(9000)
    const how = random.below(6)
    const punch = { keepSize: true, punchHole: true, zeroRange: false }
    // Such a file may fail; others may not.
    await codeOf(
      async () =>
        await (how === 0
          ? fs.allocate(ino, fh, punch, off, BigInt(len))
          : how === 1
            ? fs.setattr(ino, { size: off })
            : fs.write(ino, fh, off, Buffer.alloc(len, 1 + step))),
    )
    await paths.write('/other', pattern(90_000, 100 + step))
    await paths.write('/small', pattern(700, 100 + step))
    if (step % 7 === 0) await fs.sync()
  }
  for (const file of files) await paths.close(file)
  await paths.unlink('/one')
  await fs.close()
  const again = await openPaths(path)
  expect((await again.read('/other')).equals(pattern(90_000, 159))).toBe(true)
  expect((await again.read('/small')).equals(pattern(700, 159))).toBe(true)
  await again.read('/two')
  await again.fs.close()
}

describe('files that share', () => {
  test.each(cases)('$title: are named, and separated by a repair', async ({ share, content, named }) => {
    const path = await damaged(share)
    const before = await contentOf(path, '/two')
    if (content !== undefined) expect(before.equals(content())).toBe(true)
    else expect(before.equals(TWO)).toBe(false)
    expect(await check(path, false)).toMatch(named)
    const repaired = await check(path, true)
    expect(repaired).toMatch(named)
    expect(repaired).toContain('it has objects of its own now')
    expect(await check(path, false)).toBe('')
    const paths = await openPaths(path)
    const expected = { ...CONTENT, '/two': before }
    for (const [name, bytes] of Object.entries(expected))
      expect((await paths.read(name)).equals(bytes), name).toBe(true)
    await paths.write('/two', 'changed', 3n)
    await paths.write('/two', 'changed', BigInt(BLOCK + 7))
    await paths.fs.sync()
    expect((await paths.read('/one')).equals(ONE)).toBe(true)
    await paths.fs.close()
    expect(await check(path, false)).toBe('')
  })

  test.each(cases)('$title: can be changed without effect on others', async ({ share }) => {
    await change(await damaged(share))
  })
})
