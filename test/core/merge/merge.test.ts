/** Merges of branches: random changes on one side and on both, and the cases that conflict. */
import { createHash } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { deleteBranch } from '../../../core/database/branches.ts'
import type { Database } from '../../../core/database/database.ts'
import { random } from '../../store/contract/random-history.ts'
import { both, merge } from './both.ts'

/** Every path with its mode, owner and content. */
async function tree(db: Database, path = '/'): Promise<readonly string[]> {
  const found: string[] = []
  for (const { name } of await db.files.readdir(path, { withFileTypes: true })) {
    const at = `${path}${name}`
    const { mode, uid, gid, size, nlink } = await db.files.lstat(at)
    const stats = await db.files.lstat(at)
    const head = `${at} ${mode.toString(8)} ${uid} ${gid}`
    if (stats.isDirectory()) found.push(head, ...(await tree(db, `${at}/`)))
    else if (stats.isSymbolicLink()) found.push(`${head} -> ${await db.files.readlink(at)}`)
    else {
      const hash = createHash('sha256')
        .update(await db.files.readFile(at))
        .digest('hex')
        .slice(0, 12)
      found.push(`${head} ${size} ${nlink} ${hash}`)
    }
  }
  return found.sort()
}

/** Random changes below a directory. */
async function change(db: Database, top: string, seed: number, count: number): Promise<void> {
  const next = random(seed)
  const below = (end: number): number => Math.floor(next() * end)
  const list = async (): Promise<readonly string[]> =>
    (await tree(db, top)).map(line => line.split(' ')[0] ?? '')
  let fresh = 0
  for (let i = 0; i < count; i++) {
    const paths = await list()
    const pick = (): string => paths[below(paths.length)] ?? `${top}x`
    const [one, other] = [pick(), pick()]
    const directory = [top, ...(await directories(db, paths)).map(path => `${path}/`)][below(3)] ?? top
    const name = `${directory}${seed % 1000}-${fresh++}`
    const bytes = Buffer.alloc(1 + below(30_000), `${seed} ${i}`)
    const steps: (() => Promise<unknown>)[] = [
      () => db.files.writeFile(name, bytes),
      () => db.files.mkdir(name),
      () => db.files.symlink(`to ${i}`, name),
      () => db.files.rename(one, name),
      () => db.files.rename(one, other),
      () => db.files.rm(one, { recursive: below(3) === 0 }),
      () => db.files.chmod(one, 0o600 + below(0o77)),
      () => db.files.truncate(one, below(40_000)),
      () => db.files.link(one, name),
      async () => {
        const file = await db.files.open(one, 'r+')
        await file.write(bytes.subarray(0, 3000), 0, Math.min(3000, bytes.length), below(60_000))
        await file.close()
      },
      // Two names are exchanged.
      async () => {
        await db.files.rename(one, `${top}tmp-${seed}`)
        await db.files.rename(other, one)
        await db.files.rename(`${top}tmp-${seed}`, other)
      },
    ]
    await steps[below(steps.length)]?.().catch(() => undefined)
  }
}

async function directories(db: Database, paths: readonly string[]): Promise<readonly string[]> {
  const found: string[] = []
  for (const path of paths) if ((await db.files.lstat(path)).isDirectory()) found.push(path)
  return found
}

const some = async (db: Database): Promise<void> => {
  for (const top of ['/m/', '/b/']) {
    await db.files.mkdir(top)
    await change(db, top, top === '/m/' ? 1 : 2, 25)
  }
}

test.each([11, 12, 13, 14])(
  'what only the branch changed is merged as it is, seed %i',
  { timeout: 120_000 },
  async seed => {
    const { main, branch } = await both(some)
    for (const round of [0, 1]) {
      await change(branch, '/', seed + 1000 * round, 25)
      await branch.sync()
      expect(await merge(main, 'b')).toMatchObject({ conflicts: [] })
      expect(await tree(main)).toEqual(await tree(branch))
      expect(await merge(main, 'b')).toEqual({ steps: [], conflicts: [] })
    }
  },
)

test.each([21, 22])(
  'changes of both in different directories are merged, seed %i',
  { timeout: 120_000 },
  async seed => {
    const { main, branch } = await both(some)
    for (const round of [0, 1]) {
      await change(branch, '/b/', seed + 1000 * round, 20)
      await branch.sync()
      await change(main, round === 0 ? '/m/' : '/n/', seed + 1000 * round + 500, 20)
      await main.files.rename(round === 0 ? '/m' : '/n', round === 0 ? '/n' : '/m')
      const [mine, others] = [await tree(main), await tree(branch)]
      expect(await merge(main, 'b')).toMatchObject({ conflicts: [] })
      const isOfBranch = (line: string): boolean => line.startsWith('/b/')
      expect(await tree(main)).toEqual(
        [...mine.filter(line => !isOfBranch(line)), ...others.filter(isOfBranch)].sort(),
      )
      // For the next round, the two have the same directories.
      expect((await merge(main, 'b')).steps).toEqual([])
    }
  },
)

test.each([31, 32, 33])(
  'whatever both changed, nothing of the database is lost, seed %i',
  { timeout: 120_000 },
  async seed => {
    const { main, branch } = await both(some)
    await change(branch, '/', seed, 25)
    await branch.sync()
    await change(main, '/', seed + 500, 25)
    const before = await main.sync()
    const dry = await merge(main, 'b', { isDryRun: true })
    expect(await main.sync()).toBe(before)
    const plan = await merge(main, 'b')
    expect(plan).toEqual(dry)
    const merged = await tree(main)
    // Once more, there is nothing left but conflicts.
    expect((await merge(main, 'b')).steps.filter(({ kind }) => kind !== 'move' && kind !== 'remove')).toEqual(
      [],
    )
    await merge(main, 'b', { isResolved: true })
    expect(await merge(main, 'b')).toEqual({ steps: [], conflicts: [] })
    expect(merged.length).toBeGreaterThan(0)
    await branch.close()
    await deleteBranch(main, 'b')
    const names: string[] = []
    for await (const { name } of main.tags()) names.push(name)
    expect(names).toEqual([])
  },
)

describe('a file that both changed', () => {
  const block = (char: string): Buffer => Buffer.alloc(4096, char)
  const base = (db: Database, path = '/f'): Promise<void> =>
    db.files.writeFile(path, Buffer.concat(['a', 'b', 'c', 'd'].map(block)))
  const write = async (db: Database, index: number, char: string, path = '/f'): Promise<void> => {
    const file = await db.files.open(path, 'r+')
    await file.write(block(char), 0, 4096, index * 4096)
    await file.close()
    await db.sync()
  }

  test('in different blocks is merged, also after renames on both sides', async () => {
    const { main, branch } = await both(async db => {
      await base(db)
      await db.files.mkdir('/d')
    })
    await write(main, 0, 'M')
    await main.files.rename('/f', '/d/renamed')
    await write(branch, 2, 'B')
    await branch.files.rename('/d', '/e')
    await branch.sync()
    expect((await merge(main, 'b')).conflicts).toEqual([])
    expect(
      (await main.files.readFile('/e/renamed')).equals(Buffer.concat(['M', 'b', 'B', 'd'].map(block))),
    ).toBe(true)
    // The last merge is where the next one begins.
    await write(main, 2, 'N', '/e/renamed')
    expect(await merge(main, 'b')).toEqual({ steps: [], conflicts: [] })
    await write(branch, 1, 'C')
    expect((await merge(main, 'b')).conflicts).toEqual([])
    expect(
      (await main.files.readFile('/e/renamed')).equals(Buffer.concat(['M', 'C', 'N', 'd'].map(block))),
    ).toBe(true)
    await main.undo(await main.sync()).catch(() => undefined)
  })

  test('is no conflict in what an incomplete merge has brought', async () => {
    const { main, branch } = await both(async db => {
      await base(db)
      await db.files.writeFile('/g', 'g')
    })
    await write(main, 0, 'M')
    await write(branch, 2, 'B')
    await main.files.writeFile('/g', 'main')
    await branch.files.writeFile('/g', 'branch')
    await branch.sync()
    for (const steps of [1, 0]) {
      const plan = await merge(main, 'b')
      expect(plan.steps.length).toBe(steps)
      expect(plan.conflicts.map(({ path }) => path)).toEqual(['g'])
    }
    await main.files.writeFile('/g', 'branch')
    expect(await merge(main, 'b')).toEqual({ steps: [], conflicts: [] })
    expect((await main.files.readFile('/f')).equals(Buffer.concat(['M', 'b', 'B', 'd'].map(block)))).toBe(
      true,
    )
  })

  test('in the same block, in size, or by removal is a conflict, and stays', async () => {
    const { main, branch } = await both(async db => {
      for (const name of ['same', 'size', 'gone', 'kept', 'mode', 'equal'])
        await db.files.writeFile(`/${name}`, block('x'))
    })
    for (const [db, char] of [
      [main, 'M'],
      [branch, 'B'],
    ] as const) {
      await write(db, 0, char, '/same')
      await db.files.writeFile('/new', char)
      await db.files.truncate('/size', char === 'M' ? 10 : 20)
      await db.files.chmod('/mode', char === 'M' ? 0o600 : 0o640)
      await write(db, 0, 'E', '/equal')
      await db.files.writeFile('/alike', 'alike')
    }
    await branch.files.unlink('/gone')
    await write(main, 0, 'M', '/gone')
    await write(branch, 0, 'B', '/kept')
    await main.files.unlink('/kept')
    await branch.files.writeFile('/fine', 'fine')
    await branch.sync()
    const { conflicts } = await merge(main, 'b')
    expect(conflicts.map(({ path }) => path).sort()).toEqual(['gone', 'kept', 'mode', 'new', 'same', 'size'])
    expect(await main.files.readFile('/fine', 'utf8')).toBe('fine')
    expect((await main.files.readFile('/same')).equals(block('M'))).toBe(true)
    expect(await main.files.readFile('/new', 'utf8')).toBe('M')
    expect((await main.files.stat('/size')).size).toBe(10)
    // What is resolved by hand is no conflict any more.
    for (const name of ['same', 'new', 'size', 'kept'])
      await main.files.writeFile(`/${name}`, await branch.files.readFile(`/${name}`))
    await main.files.chmod('/mode', 0o640)
    await main.files.unlink('/gone')
    expect((await merge(main, 'b')).conflicts.map(({ path }) => path)).toEqual(['kept'])
    await merge(main, 'b', { isResolved: true })
    expect(await merge(main, 'b')).toEqual({ steps: [], conflicts: [] })
  })

  test('is a conflict too if the database had changed it before the last merge', async () => {
    const { main, branch } = await both(async db => {
      for (const name of ['same', 'gone', 'cut', 'mode', 'other']) await base(db, `/${name}`)
    })
    await write(main, 1, 'M', '/same')
    await write(main, 1, 'M', '/gone')
    await write(main, 3, 'M', '/cut')
    await main.files.chmod('/mode', 0o600)
    await write(branch, 0, 'B', '/other')
    expect((await merge(main, 'b')).conflicts).toEqual([])
    await write(branch, 1, 'B', '/same')
    await branch.files.unlink('/gone')
    await branch.files.truncate('/cut', 3 * 4096)
    await branch.files.chmod('/mode', 0o640)
    await write(branch, 1, 'C', '/other')
    const { conflicts } = await merge(main, 'b')
    expect(conflicts.map(({ path }) => path).sort()).toEqual(['cut', 'gone', 'mode', 'same'])
    const contents = Buffer.concat(['a', 'M', 'c', 'd'].map(block))
    expect((await main.files.readFile('/same')).equals(contents)).toBe(true)
    expect((await main.files.readFile('/gone')).equals(contents)).toBe(true)
    expect((await main.files.stat('/cut')).size).toBe(4 * 4096)
    expect((await main.files.stat('/mode')).mode & 0o777).toBe(0o600)
    expect((await main.files.readFile('/other')).subarray(0, 8192)).toEqual(
      Buffer.concat(['B', 'C'].map(block)),
    )
  })

  test('directories that the two moved into each other are left', async () => {
    const { main, branch } = await both(async db => {
      for (const name of ['a', 'b', 'c']) await db.files.mkdir(`/${name}`)
    })
    await main.files.rename('/c', '/a/c')
    await branch.files.rename('/a', '/b/a')
    await branch.files.rename('/b', '/c/b')
    await branch.sync()
    const { conflicts } = await merge(main, 'b')
    expect(conflicts.length).toBeGreaterThan(0)
    expect((await tree(main)).length).toBe(3)
  })
})
