/** Directories and whole trees are restored in place, as one transaction, which can be undone. */
import { expect, onTestFinished, test } from 'vitest'
import { open, type Database, type Files } from '../../../index.ts'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { Random } from '../../stress/random.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

async function fresh(): Promise<Database & { readonly path: string }> {
  const path = temporaryDatabase()
  const db = await open(path, { create: true, commitInterval: 1e9 })
  onTestFinished(() => db.close())
  return Object.assign(db, { path })
}

/** A tree as text: names, kinds, modes, contents, times of files, and which names are links of one file. */
async function dump(files: Files, top = ''): Promise<string> {
  const lines: string[] = []
  const first = new Map<number, string>()
  const walk = async (path: string): Promise<void> => {
    for (const name of (await files.readdir(path || '/')).toSorted()) {
      const at = `${path}/${name}`
      const stat = await files.lstat(at)
      const link = first.get(stat.ino)
      if (link === undefined) first.set(stat.ino, at)
      const about = stat.isDirectory()
        ? ''
        : stat.isSymbolicLink()
          ? await files.readlink(at)
          : `${link ?? ''} ${stat.mtimeMs} ${await files.readFile(at, 'latin1')}`
      lines.push(`${at} ${stat.mode.toString(8)} ${about}`)
      if (stat.isDirectory()) await walk(at)
    }
  }
  await walk(top)
  return lines.join('\n')
}

const NAMES = ['a', 'b', 'c']

async function change(files: Files, random: Random): Promise<void> {
  const path = (): string =>
    Array.from({ length: 1 + random.below(3) }, () => `/${NAMES[random.below(NAMES.length)]}`).join('')
  const text = (): string => 'x'.repeat(random.below(3) === 0 ? 5000 : 3) + random.below(1000)
  const steps = [
    () => files.writeFile(path(), text()),
    () => files.writeFile(path(), text()),
    () => files.mkdir(path()),
    () => files.mkdir(path()),
    () => files.rename(path(), path()),
    () => files.rename(path(), path()),
    () => files.link(path(), path()),
    () => files.rm(path(), { recursive: true, force: true }),
    () => files.symlink(text().slice(0, 20), path()),
    () => files.chmod(path(), 0o600 + random.below(64)),
    () => files.appendFile(path(), 'more'),
  ]
  await steps[random.below(steps.length)]!().catch(() => undefined)
}

test('random trees are restored, and undo recovers the later state', { timeout: 60_000 }, async () => {
  const seed = Random.seed()
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  const db = await fresh()
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 25; i++) await change(db.files, random)
    const then = await db.sync()
    const thenDump = await dump(db.files)
    for (let i = 0; i < 25; i++) {
      await change(db.files, random)
      if (random.below(8) === 0) await db.sync()
    }
    const now = await db.sync()
    const nowDump = await dump(db.files)
    const plan: unknown[] = []
    for await (const step of db.restorePlan('/', then, { delete: true })) plan.push(step)
    const tid = await db.restore('/', then, { delete: true })
    expect(await dump(db.files), `round ${round}`).toBe(thenDump)
    expect(tid === now).toBe(plan.length === 0)
    expect(await db.files.readdir('/')).not.toContain(expect.stringContaining('restore'))
    if (plan.length > 0 && random.below(2) === 0) {
      await db.undo(tid)
      expect(await dump(db.files), `undo in round ${round}`).toBe(nowDump)
    }
  }
  await db.close()
  const found: unknown[] = []
  const report = (finding: unknown): void => void found.push(finding)
  await checkDatabase(db.path, { data: true, repair: false, report, progress: () => undefined })
  expect(found).toEqual([])
})

test('what is in a moved directory only now is removed, and a directory in whose place another was', async () => {
  const db = await fresh()
  await db.files.mkdir('/a')
  await db.files.mkdir('/d/e', { recursive: true })
  await db.files.writeFile('/d/e/kept', 'kept')
  const then = await db.sync()
  const thenDump = await dump(db.files)
  await db.files.rename('/a', '/c')
  await db.files.mkdir('/c/new')
  await db.files.writeFile('/c/new/file', 'new')
  await db.files.writeFile('/c/file', 'new')
  await db.files.rename('/d', '/moved')
  await db.files.mkdir('/d/e', { recursive: true })
  await db.files.writeFile('/d/e/other', 'other')
  const now = await db.sync()
  const nowDump = await dump(db.files)
  const tid = await db.restore('/', then, { delete: true })
  expect(await dump(db.files)).toBe(thenDump)
  expect(tid).not.toBe(now)
  await db.undo(tid)
  expect(await dump(db.files)).toBe(nowDump)
})

test('without --delete, new entries stay, and old ones are restored', async () => {
  const db = await fresh()
  await db.files.mkdir('/d/e', { recursive: true })
  await db.files.writeFile('/d/e/one', '1')
  await db.files.writeFile('/d/two', '2')
  await db.files.writeFile('/other', 'o')
  const then = await db.sync()
  await db.files.rename('/d/e', '/d/f')
  await db.files.writeFile('/d/f/one', 'changed')
  await db.files.unlink('/d/two')
  await db.files.writeFile('/d/new', 'n')
  await db.files.writeFile('/other', 'changed')
  await db.sync()
  const before = await db.files.stat('/d/f/one')
  await db.restore('/d', then)
  expect(await db.files.readFile('/d/e/one', 'utf8')).toBe('1')
  expect(await db.files.readFile('/d/two', 'utf8')).toBe('2')
  // The present name of a renamed directory stays as it is.
  expect(await db.files.readFile('/d/f/one', 'utf8')).toBe('changed')
  expect((await db.files.stat('/d/f/one')).ino).toBe(before.ino)
  expect(await db.files.readFile('/d/new', 'utf8')).toBe('n')
  expect(await db.files.readFile('/other', 'utf8')).toBe('changed')
})

test('several paths are restored in one transaction; other paths do not change', async () => {
  const db = await fresh()
  await db.files.mkdir('/a')
  await db.files.mkdir('/b')
  await db.files.writeFile('/a/x', '1')
  await db.files.writeFile('/b/y', '2')
  await db.files.writeFile('/c', '3')
  const then = await db.sync()
  await db.files.rename('/a/x', '/b/x')
  await db.files.rename('/b/y', '/outside')
  await db.files.writeFile('/c', 'changed')
  const now = await db.sync()
  const tid = await db.restore(['/a', '/b', '/a/x'], then, { delete: true })
  expect(await db.files.readdir('/a')).toEqual(['x'])
  expect(await db.files.readdir('/b')).toEqual(['y'])
  expect(await db.files.readFile('/outside', 'utf8')).toBe('2')
  expect(await db.files.readFile('/c', 'utf8')).toBe('changed')
  const tids: string[] = []
  for await (const { tid, message } of db.log({ since: now })) tids.push(`${tid} ${message}`)
  expect(tids).toEqual([`${tid} restore a, b, a/x as of ${then}`])
})

test('a range of transactions is undone as one', async () => {
  const db = await fresh()
  await db.files.writeFile('/a', 'one')
  const start = await db.sync()
  await db.files.writeFile('/a', 'two')
  const first = await db.sync()
  await db.files.writeFile('/b', 'new')
  await db.files.writeFile('/a', 'three')
  const last = await db.sync()
  const state = await dump(db.files)
  const undone = await db.undo(first, { upTo: last })
  expect(await dump(db.files)).toBe(await dump(db.at(start)))
  await db.undo(undone)
  expect(await dump(db.files)).toBe(state)
  const code = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => 'no error',
      (error: unknown) => (error as { readonly message: string }).message,
    )
  expect(await code(db.undo(last, { upTo: first }))).toContain('name the older transaction first')
  await db.files.writeFile('/a', 'later')
  await db.sync()
  expect(await code(db.undo(first, { upTo: last }))).toContain('the range of transactions')
})
