/**
 * docs/format.md held against the code: a reader written from that page alone, in Python and with none of our code, sees
 * what a mount shows, at every moment, and finds bytes that were changed.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { historyOf } from '../../mount/daemon/history-calls.ts'
import type { CompressionName } from '../../store/compression.ts'
import type { EncryptionName, Secret } from '../../store/encryption.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import { openSqliteStore } from '../../store/sqlite/open/open-sqlite-store.ts'
import { FileSystem } from '../../core/file-system/file-system.ts'
import { copyDatabase } from '../tools/database-files.ts'
import { Paths } from '../tools/paths.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

const { S_IFMT, S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO } = constants
const READER = join(import.meta.dirname, 'read_database.py')
const MiB = 1 << 20

type Tree = Record<string, Record<string, unknown>>

interface Answer {
  readonly moments: Record<string, Tree>
  readonly waiting: readonly { ino: number; off: number; hex: string }[]
  readonly problems: readonly string[]
}

/** Of the encrypted databases. */
const SECRET = Buffer.from('the key of a test, of 32 bytes or more')
const key = async (): Promise<Secret> => ({ kind: 'file', bytes: SECRET })

const readByPage = (database: string, ...moments: Tid[]): Answer =>
  JSON.parse(
    execFileSync('python3', [READER, database, ...moments.map(formatTid)], {
      encoding: 'utf8',
      env: { ...process.env, ZBLKFS_TEST_SECRET: SECRET.toString('hex') },
    }),
  ) as Answer

/** What a mount shows at `top`, in the form of the reader's answer. */
async function shown(paths: Paths, top: string): Promise<Tree> {
  const tree: Tree = {}
  const waiting = ['']
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const full = top + path
    const found = await paths.stat(full)
    tree[path] = {
      mode: found.mode,
      uid: found.uid,
      gid: found.gid,
      nlink: found.nlink,
      rdev: found.rdev,
      size: Number(found.size),
      mtime: String(found.mtimeNs),
      ctime: String(found.ctimeNs),
      atime: String(found.atimeNs),
      birthtime: String(found.birthtimeNs),
      xattrs: await xattrsOf(paths, full),
      ...(await contentOf(paths, full, found.mode & S_IFMT)),
    }
    if ((found.mode & S_IFMT) === S_IFDIR)
      for (const name of await paths.list(full)) waiting.push(`${path}/${name}`)
  }
  return tree
}

const xattrsOf = (paths: Paths, path: string): Promise<Record<string, string>> =>
  paths.at(path, async ino => {
    const names = await paths.fs.listxattr(ino)
    const values = await Promise.all(
      names.map(async name => [name, Buffer.from(await paths.fs.getxattr(ino, name)).toString('hex')]),
    )
    return Object.fromEntries(values) as Record<string, string>
  })

async function contentOf(paths: Paths, path: string, type: number): Promise<Record<string, string>> {
  if (type === S_IFLNK) return { target: await paths.readlink(path) }
  if (type !== S_IFREG) return {}
  const content = await paths.read(path)
  return { sha256: createHash('sha256').update(content).digest('hex') }
}

/** The reader's tree without the inodes' numbers: those of a moment's files are others in a mount. */
function withoutInos(tree: Tree | undefined): Tree {
  const shownOnly = structuredClone(tree ?? {})
  for (const attributes of Object.values(shownOnly)) delete attributes['ino']
  return shownOnly
}

function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  let state = seed
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}

const setXattr = (paths: Paths, path: string, name: string, value: string): Promise<void> =>
  paths.at(path, ino => paths.fs.setxattr(ino, name, Buffer.from(value), 0))

/** A change after each of which there is a moment. */
const STEPS: readonly ((paths: Paths) => Promise<unknown>)[] = [
  async paths => {
    await paths.write(
      'compressible',
      Buffer.from(Uint32Array.from({ length: 300_000 }, (_, i) => i * 3).buffer),
    )
    await paths.write('small', 'a few bytes')
    await paths.write('chunks', noise(300_000, 1), 12_345n)
    await paths.write('large', noise(5 * MiB, 2))
    await paths.write('holes', noise(5000, 3), 7n * BigInt(MiB) - 2500n)
    await paths.truncate('holes', 9n * BigInt(MiB))
  },
  async paths => {
    await paths.mkdir('directory', 0o2750)
    await paths.mkdir('directory/below')
    await paths.symlink('../small', 'directory/link')
    await paths.mknod('directory/pipe', S_IFIFO | 0o620)
    await paths.link('small', 'directory/below/hard')
    await setXattr(paths, 'small', 'user.color', 'blue')
    await setXattr(paths, 'directory', 'user.empty', '')
    for (let i = 0; i < 200; i++) await paths.write(`directory/below/${i}`, noise(i * 40, i))
  },
  async paths => {
    await paths.write('large', noise(4096, 4), 3n * BigInt(MiB))
    await paths.write('chunks', Buffer.alloc(100_000), 100_000n)
    await paths.write('a\u00ff\u00fe\n', 'any bytes are a name')
    await historyOf(paths.fs).clone('large', 'clone')
  },
  async paths => {
    await paths.write('clone', noise(10_000, 5), 100n)
    await paths.unlink('small')
    await paths.rename('directory/below', 'moved')
    await paths.truncate('large', 2_500_001n)
    await historyOf(paths.fs).tag('named')
  },
]

async function makeHistory(
  database: string,
  compression?: CompressionName,
  encryption?: EncryptionName,
): Promise<{ readonly moments: readonly Tid[]; readonly trees: readonly Tree[] }> {
  const store = await openSqliteStore(database, { create: true, compression, encryption, key })
  const fs = await FileSystem.open(store, { commitIntervalMs: 1e9 })
  try {
    const paths = new Paths(fs)
    const moments: Tid[] = []
    for (const step of STEPS) {
      await step(paths)
      moments.push(await fs.sync())
    }
    const trees: Tree[] = []
    for (const moment of moments) trees.push(await shown(paths, `@${formatTid(moment)}`))
    return { moments, trees }
  } finally {
    await fs.close()
  }
}

describe('a reader written from docs/format.md', () => {
  test('reads every moment as a mount shows it', async () => {
    const database = temporaryDatabase()
    const { moments, trees } = await makeHistory(database)
    const found = readByPage(database, ...moments)
    expect(found.problems).toEqual([])
    expect(found.waiting).toEqual([])
    for (const [i, moment] of moments.entries())
      expect(withoutInos(found.moments[formatTid(moment)])).toEqual(trees[i])
  })

  test.each(['zstd', 'zstd-shuffle4', 'lz4'] as const)('sees what is compressed: %s', async compression => {
    const database = temporaryDatabase()
    const { moments, trees } = await makeHistory(database, compression)
    const found = readByPage(database, ...moments)
    expect(found.problems).toEqual([])
    for (const [i, moment] of moments.entries())
      expect(withoutInos(found.moments[formatTid(moment)])).toEqual(trees[i])
    const segment = `${database}-log/00000000`
    const content = readFileSync(segment)
    writeFileSync(segment, flipped(content, content.length - 5000))
    expect(readByPage(database, ...moments).problems).toContainEqual(expect.stringMatching(/^R14: /))
  })

  test.each(['off', 'zstd'] as const)('decrypts a database, compression %s', async compression => {
    const database = temporaryDatabase()
    const { moments, trees } = await makeHistory(database, compression, 'aes-256-gcm')
    const found = readByPage(database, ...moments)
    expect(found.problems).toEqual([])
    for (const [i, moment] of moments.entries())
      expect(withoutInos(found.moments[formatTid(moment)])).toEqual(trees[i])
  })

  test('decrypts a database with a passphrase', async () => {
    const database = temporaryDatabase()
    const passphrase = async (): Promise<Secret> => ({ kind: 'passphrase', bytes: SECRET })
    const store = await openSqliteStore(database, {
      create: true,
      encryption: 'aes-256-gcm',
      key: passphrase,
    })
    const fs = await FileSystem.open(store, { commitIntervalMs: 1e9 })
    await new Paths(fs).write('file', 'content')
    await fs.sync()
    await fs.close()
    const { problems, moments } = readByPage(database)
    expect(problems).toEqual([])
    const sha256 = createHash('sha256').update('content').digest('hex')
    expect(Object.values(moments).at(-1)?.['/file']).toMatchObject({ sha256 })
  })

  test.each(['off', 'aes-256-gcm'] as const)(
    'finds synced changes outside of transactions, encryption %s',
    async encryption => {
      const database = temporaryDatabase()
      const copy = temporaryDatabase()
      const fs = await FileSystem.open(await openSqliteStore(database, { create: true, encryption, key }), {
        commitIntervalMs: 1e9,
      })
      const paths = new Paths(fs)
      await paths.write('file', 'stored')
      await fs.sync()
      await paths.write('file', 'synced', 3n)
      await fs.fsync()
      await paths.write('file', 'again', 1_000_000n)
      await paths.rename('file', 'moved')
      await fs.fsync()
      await copyDatabase(database, copy)
      for (const end of ['-wal', '-shm'])
        if (existsSync(database + end)) writeFileSync(copy + end, readFileSync(database + end))
      await fs.close()
      const { waiting, problems, moments } = readByPage(copy)
      expect(problems).toEqual([])
      const ino = Object.values(moments).at(-1)?.['/file']?.['ino']
      const hex = (text: string): string => Buffer.from(text).toString('hex')
      expect(waiting).toMatchObject([
        { kind: 1, numbers: [ino, 3], strings: [hex('synced')] },
        { kind: 1, numbers: [ino, 1_000_000], strings: [hex('again')] },
        { kind: 4, numbers: [1, 1, 0], strings: [hex('file'), hex('moved')] },
      ])
    },
  )

  test('detects a changed byte by the rule that it violates', async () => {
    const database = temporaryDatabase()
    const { moments } = await makeHistory(database)
    const segment = `${database}-log/00000000`
    const flips: readonly (readonly [string, Buffer, RegExp])[] = [
      [segment, noise(5 * MiB, 2).subarray(MiB, MiB + 64), /^R14: .*\/large/],
      [segment, Buffer.from('zblkfs log'), /^R12: /],
      [database, Buffer.from('a few bytes'), /^R7: .*\/small/],
      [database, Buffer.from('tag named'), /^R5: /],
    ]
    for (const [file, bytes, expected] of flips) {
      const content = readFileSync(file)
      writeFileSync(file, flippedAll(content, bytes))
      expect(readByPage(database, ...moments).problems).toContainEqual(expect.stringMatching(expected))
      writeFileSync(file, content)
    }
    expect(readByPage(database, ...moments).problems).toEqual([])
  })
})

/** Changes every occurrence of `bytes`: SQLite leaves copies of rows in the free parts of its pages. */
function flippedAll(content: Buffer, bytes: Buffer): Buffer {
  let changed = content
  for (let at = content.indexOf(bytes); at >= 0; at = content.indexOf(bytes, at + 1))
    changed = flipped(changed, at + 5)
  expect(changed).not.toBe(content)
  return changed
}

function flipped(content: Buffer, at: number): Buffer {
  const bytes = Buffer.from(content)
  bytes[at] = (bytes[at] ?? 0) ^ 1
  return bytes
}
