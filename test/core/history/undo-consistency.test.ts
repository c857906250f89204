/**
 * Undo, restore and clone keep the filesystem consistent: random short histories, in which a full check finds nothing after any
 * step. `ZBLKFS_TEST_SEEDS` (`1 2 3` or `100-199`) runs other seeds; what fails names its seed and prints its steps.
 */
import { expect, onTestFinished, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import { Database } from '../../../core/database/database.ts'
import type { File } from '../../../core/database/file.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { Paths } from '../../tools/paths.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'
import { seeded, type Random } from '../pack/object-model.ts'

const SEEDS = seedsOf(process.env['ZBLKFS_TEST_SEEDS'] ?? '6-17')
const STEPS = 16
const NAMES = ['a', 'b', 'c']
/** Names of a directory of several buckets, which split and are removed. */
const MANY = Array.from({ length: 70 }, (_, i) => `${i}`)
/** Inline, one chunk, several chunks, and in the second block. */
const SIZES = [0, 10, 1500, 4096, 9000]
const OFFSETS = [0, 0, 100, 5000, 2 << 20]

const DIRTY_BYTES = 32 << 20

const ROOT = { uid: 0, gid: 0, pid: 0 }

const errorCode = (error: unknown): unknown => (error as { code?: unknown }).code

class History {
  readonly path: string
  readonly log: string[] = []
  readonly tids: string[] = []
  readonly db: Database
  readonly paths: Paths
  readonly #open: File[] = []
  readonly #fs: FileSystem

  private constructor(path: string, db: Database, paths: Paths, fs: FileSystem) {
    this.#fs = fs
    this.path = path
    this.db = db
    this.paths = paths
  }

  static async begin(): Promise<History> {
    const path = temporaryDatabase()
    const store = await openSqliteStore(path, { create: true })
    const fs = await FileSystem.open(store, {})
    const db = new Database({ fileSystem: fs, store, caller: ROOT, umask: 0o022, close: () => fs.close() })
    onTestFinished(() => fs.close().catch(() => undefined))
    return new History(path, db, new Paths(fs), fs)
  }

  /** One transaction; an operation that is refused changes nothing. Resolves to whether it was done. */
  async step(name: string, work: () => Promise<unknown>): Promise<boolean> {
    try {
      await work()
      this.log.push(name)
    } catch (error) {
      // A name that does not exist, a clash, and the like.
      if (typeof errorCode(error) !== 'string') throw error
      this.log.push(`(${name}: ${String(errorCode(error))})`)
      return false
    } finally {
      const tid = await this.db.sync()
      if (tid !== this.tids.at(-1)) this.tids.push(tid)
    }
    return true
  }

  /** Undoes transactions; every second time in parts. */
  async undo(tid: string, upTo: string = tid): Promise<void> {
    if (this.tids.length % 2 === 0) this.#fs.adjust({ dirtySizeBytes: 1 })
    try {
      await this.db.undo(tid, { upTo })
    } finally {
      this.#fs.adjust({ dirtySizeBytes: DIRTY_BYTES })
    }
  }

  async openFile(path: string): Promise<void> {
    this.#open.push(await this.db.files.open(path, 'r+'))
  }

  async closeFile(index: number): Promise<void> {
    const [file] = this.#open.splice(index, 1)
    await file?.close()
  }

  async writeOpen(index: number, bytes: Buffer): Promise<void> {
    await this.#open[index]?.write(bytes, 0, undefined, 0)
  }

  get openCount(): number {
    return this.#open.length
  }

  async closeAll(): Promise<void> {
    for (const file of this.#open.splice(0)) await file.close()
    await this.db.sync()
  }

  async check(): Promise<void> {
    const found: string[] = []
    const report = (damage: unknown): void =>
      void found.push(
        JSON.stringify(damage, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value)),
      )
    await checkDatabase(this.path, { data: false, repair: false, report, progress: () => {} })
    expect(found, this.log.join('\n')).toEqual([])
  }
}

async function randomStep(history: History, random: Random, isWide: boolean): Promise<boolean> {
  const { db, paths, tids } = history
  const { files } = db
  const pick = <T>(of: readonly T[]): T => of[random(of.length)] as T
  const anyPath = (): string => {
    if (isWide && random(2) === 0) return `/a/${pick(MANY)}`
    const depth = pick([1, 1, 2, 2, 3])
    return `/${Array.from({ length: depth }, () => pick(NAMES)).join('/')}`
  }
  const [path, other] = [anyPath(), anyPath()]
  const bytes = Buffer.alloc(pick(SIZES), 1 + random(255))
  const index = random(tids.length)
  const tid = tids[index] ?? ''
  const later = tids[Math.min(tids.length - 1, index + random(4))] ?? ''
  const step = (name: string, work: () => Promise<unknown>): Promise<boolean> => history.step(name, work)
  switch (random(isWide ? 30 : 27)) {
    case 0:
    case 1:
      return await step(`write ${bytes.length} ${path}`, () => files.writeFile(path, bytes))
    case 2: {
      const at = pick(OFFSETS)
      return await step(`overwrite ${path} ${at}+${bytes.length}`, async () => {
        const file = await files.open(path, 'r+')
        await file.write(bytes, 0, undefined, at)
        await file.close()
      })
    }
    case 3: {
      const size = pick(SIZES)
      return await step(`truncate ${path} ${size}`, () => files.truncate(path, size))
    }
    case 4:
    case 5:
      return await step(`mkdir ${path}`, () => files.mkdir(path))
    case 6:
      return await step(`unlink ${path}`, () => files.unlink(path))
    case 7:
      return await step(`rmdir ${path}`, () => files.rmdir(path))
    case 8:
      return await step(`rm -r ${path}`, () => files.rm(path, { recursive: true }))
    case 9:
    case 10:
      return await step(`rename ${path} ${other}`, () => files.rename(path, other))
    case 11:
      return await step(`exchange ${path} ${other}`, () => paths.rename(path, other, { exchange: true }))
    case 12:
      return await step(`link ${path} ${other}`, () => files.link(path, other))
    case 13:
      return await step(`symlink ${path}`, () => files.symlink('somewhere', path))
    case 14: {
      const value = Buffer.alloc(random(3000), 7)
      return await step(`setxattr ${path} ${value.length}`, () =>
        paths.at(path, ino => paths.fs.setxattr(ino, 'user.a', value, 0, ROOT)),
      )
    }
    case 15:
      return await step(`clone ${path} ${other} @${index}`, () => db.clone(path, other, { at: tid }))
    case 16:
      return await step(`restore ${path} @${index}`, () => db.restore(path, tid))
    case 17:
      return await step(`restore --delete ${path} @${index}`, () => db.restore(path, tid, { delete: true }))
    case 18:
      return await step(`restore / --delete @${index}`, () => db.restore('/', tid, { delete: true }))
    case 19:
      return await step(`open ${path}`, () => history.openFile(path))
    case 20: {
      const at = random(history.openCount)
      return await step(`close #${at}`, () => history.closeFile(at))
    }
    case 21: {
      const at = random(history.openCount)
      return await step(`write open #${at}`, () => history.writeOpen(at, bytes))
    }
    case 22:
      return await step(`undo ${index} to ${tids.indexOf(later)}`, () => history.undo(tid, later))
    case 27:
    case 28:
    case 29: {
      const [first, isMaking] = [random(MANY.length), random(2) === 0]
      const names = MANY.slice(first, first + 5 + random(40)).map(name => `/a/${name}`)
      return await step(`${isMaking ? 'write' : 'rm'} ${first} and ${names.length - 1} more`, async () => {
        for (const name of names)
          await (isMaking ? files.writeFile(name, bytes) : files.rm(name, { recursive: true, force: true }))
      })
    }
    default:
      return await step(`undo ${index}`, () => history.undo(tid))
  }
}

test.each(SEEDS)('a random history: seed %i', { timeout: 60_000 }, async seed => {
  const random = seeded(seed)
  const isWide = seed % 4 === 0
  const history = await History.begin()
  await history.step('mkdir', () => history.db.files.mkdir('/a'))
  for (let count = 0; count < STEPS;)
    if (await randomStep(history, random, isWide)) {
      await history.check()
      count++
    }
  await history.closeAll()
  await history.check()
})

function seedsOf(text: string): readonly number[] {
  return text.split(' ').flatMap(part => {
    const [first = 0, last = first] = part.split('-').map(Number)
    return Array.from({ length: last - first + 1 }, (_, i) => first + i)
  })
}
