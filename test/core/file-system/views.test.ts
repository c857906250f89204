import { constants } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { formatTid, tid, type Tid } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { codeOf, Paths } from '../../tools/paths.ts'
import { openPaths, temporaryDatabase } from '../../tools/temporary-database.ts'
import { treeOf } from '../../tools/tree-hash.ts'

const at = (moment: Tid): string => `@${formatTid(moment)}`

test('every transaction shows its tree, while others are committed', async () => {
  const paths = await openPaths(temporaryDatabase(), { dirtySizeBytes: 1 << 30, commitIntervalMs: 1e9 })
  const made: [Tid, string][] = []
  for (let i = 0; i < 60; i++) {
    const file = `file${i % 7}`
    await paths.write(file, Buffer.alloc(5000 + i, i), BigInt((i * 7919) % 300_000))
    if (i % 9 === 8) await paths.truncate(file, 1000n)
    if (i % 5 === 1) await paths.mkdir(`dir${i}`)
    if (i % 5 === 2) await paths.rename(file, `dir${i - 1}/${file}`)
    if (i % 5 === 3) await paths.link(`dir${i - 2}/file${(i - 1) % 7}`, `link${i}`)
    if (i % 5 === 4) await paths.unlink(`link${i - 1}`)
    made.push([await paths.fs.sync(), await treeOf(paths, '')])
  }
  expect(new Set(made.map(([, tree]) => tree)).size).toBe(made.length)
  for (const [moment, tree] of made.toReversed()) expect(await treeOf(paths, at(moment))).toBe(tree)
  await Promise.all(made.map(async ([moment, tree]) => expect(await treeOf(paths, at(moment))).toBe(tree)))
  expect(paths.fs.stats().openMoments).toBe(0)
})

test('many moments are open at once, each while it is in use', async () => {
  const paths = await openPaths(temporaryDatabase())
  const opened: {
    readonly moment: Tid
    readonly close: () => Promise<void>
    readonly check: () => Promise<void>
  }[] = []
  for (let i = 0; i < 40; i++) {
    await paths.write('file', `content ${i}`)
    const moment = await paths.fs.sync()
    const file = await paths.open(`${at(moment)}/file`, constants.O_RDONLY)
    opened.push({
      moment,
      close: () => paths.close(file),
      check: async () => expect((await paths.readAt(file, 0n, 100)).toString()).toBe(`content ${i}`),
    })
  }
  expect(paths.fs.openTids).toEqual(opened.map(({ moment }) => moment))
  for (const { check } of opened) await check()
  for (const { check, close } of opened) {
    await check()
    await close()
  }
  expect(paths.fs.openTids).toEqual([])
})

describe('the moment of a name', () => {
  test('is the newest transaction at or before it; none before the first or after the last', async () => {
    const paths = await openPaths(temporaryDatabase())
    const first = await paths.fs.lastTid()
    await paths.write('file', 'old')
    const old = await paths.fs.sync()
    await sleep(1100)
    const between = new Date().toISOString()
    await sleep(5)
    await paths.write('file', 'new')
    const last = await paths.fs.sync()
    const content = async (moment: string): Promise<string> =>
      (await paths.read(`@${moment}/file`)).toString()
    expect(await content(formatTid(old))).toBe('old')
    expect(await content(formatTid(tid(last - 1n)))).toBe('old')
    expect(await content(between)).toBe('old')
    expect(await content('0.5s')).toBe('old')
    expect(await content('0s')).toBe('new')
    expect(await codeOf(paths.stat(at(tid(first - 1n))))).toBe('ENOENT')
    expect(await codeOf(paths.stat(at(tid(last + 1n))))).toBe('ENOENT')
    expect(await codeOf(paths.stat('@1h/file'))).toBe('ENOENT')
    expect(await paths.list('@1h')).toEqual([])
    expect(await content('now')).toBe('new')
    expect(await codeOf(paths.stat('@2999-01-01'))).toBe('ENOENT')
    expect(await codeOf(paths.stat('@1800-01-01'))).toBe('ENOENT')
    expect(await codeOf(paths.stat('@no-such-tag'))).toBe('ENOENT')
    expect(await codeOf(paths.stat('@'))).toBe('ENOENT')
    expect(await paths.list('')).toEqual(['file'])
    expect(await codeOf(paths.stat(`${at(old)}/${at(old)}`))).toBe('ENOENT')
  })

  test('is resolved again after a second, although its content is cached', async () => {
    const paths = await openPaths(temporaryDatabase())
    await paths.write('file', 'content')
    const moment = at(await paths.fs.sync())
    expect(await paths.at(moment, (_ino, entry) => Promise.resolve(entry?.nameValidity))).toBe('briefly')
    expect(await paths.at(`${moment}/file`, (_ino, entry) => Promise.resolve(entry?.nameValidity))).toBe(
      'forever',
    )
  })

  test('a file takes precedence over a tag of the same name', async () => {
    const paths = await openPaths(temporaryDatabase())
    await paths.mkdir('@types')
    await paths.write('@types/index', 'x')
    expect((await paths.read('@types/index')).toString()).toBe('x')
  })
})

test('the past is read-only, and has inode numbers of its own', async () => {
  const paths = await openPaths(temporaryDatabase())
  await paths.write('file', 'content')
  await paths.mkdir('directory')
  const past = at(await paths.fs.sync())
  const attempts: (() => Promise<unknown>)[] = [
    () => paths.mkdir(`${past}/new`),
    () => paths.unlink(`${past}/file`),
    () => paths.rmdir(`${past}/directory`),
    () => paths.rename(`${past}/file`, `${past}/other`),
    () => paths.truncate(`${past}/file`, 0n),
    () => paths.open(`${past}/file`, constants.O_RDWR),
    () => paths.at(`${past}/file`, ino => paths.fs.setxattr(ino, 'user.a', Buffer.from('x'), 0)),
    () => paths.at(`${past}/file`, ino => paths.fs.setattr(ino, { mode: 0 })),
    () => paths.symlink('x', `${past}/link`),
  ]
  for (const attempt of attempts) expect(await codeOf(attempt)).toBe('EROFS')
  expect((await paths.stat(`${past}/file`)).ino).not.toBe((await paths.stat('file')).ino)
  const before = await paths.stat(`${past}/file`)
  await paths.read(`${past}/file`)
  expect({ ...(await paths.stat(`${past}/file`)), ino: 0 }).toEqual({ ...before, ino: 0 })
})

test('a file of the past is copied into the present by copy_file_range', async () => {
  const paths = await openPaths(temporaryDatabase())
  await paths.write('file', 'old content')
  const past = at(await paths.fs.sync())
  await paths.write('file', 'NEW')
  const from = await paths.open(`${past}/file`, constants.O_RDONLY)
  const to = await paths.create('copy')
  expect(await paths.fs.copyFileRange({ ...from, off: 0n }, { ...to, off: 0n }, 100n)).toBe(11n)
  expect((await paths.read('copy')).toString()).toBe('old content')
})

describe('a read-only filesystem', () => {
  test('shows the requested moment, beside a writer', async () => {
    const database = temporaryDatabase()
    const writer = await openPaths(database)
    await writer.write('file', 'old')
    const moment = await writer.fs.sync()
    await writer.write('file', 'new')
    await writer.fs.sync()
    const reading = await openSqliteStore(database, { readOnly: true })
    const fs = await FileSystem.open(reading, { at: formatTid(moment) })
    const reader = new Paths(fs)
    expect((await reader.read('file')).toString()).toBe('old')
    expect(await codeOf(reader.mkdir('new'))).toBe('EROFS')
    expect(await codeOf(reader.open('file', constants.O_WRONLY))).toBe('EROFS')
    expect(await fs.sync()).toBe(moment)
    expect(fs.openTids).toEqual([moment])
    expect((await reader.read('.zblkfs/at')).toString()).toBe(`${formatTid(moment)}\n`)
    await fs.close()
  })

  test('is refused if the moment does not exist or the database is empty', async () => {
    const database = temporaryDatabase()
    const store = await openSqliteStore(database, { create: true })
    expect(await codeOf(FileSystem.open(store, { at: '2h' }))).toBe('CannotOpenError')
    const fs = await FileSystem.open(store)
    await fs.close()
    const again = await openSqliteStore(database, { readOnly: true })
    await expect(FileSystem.open(again, { at: '2020-01-01' })).rejects.toMatchObject({ code: 'no-moment' })
    await again.close()
  })
})

test('/.zblkfs has generated files, and is not listed', async () => {
  const paths = await openPaths(temporaryDatabase())
  await paths.write('file', 'content')
  const last = await paths.fs.sync()
  expect(await paths.list('')).toEqual(['file'])
  expect(await paths.list('.zblkfs')).toEqual(['accesslog', 'at', 'stats', 'config'])
  expect((await paths.read('.zblkfs/at')).toString()).toBe(`${formatTid(last)}\n`)
  const stats = JSON.parse((await paths.read('.zblkfs/stats')).toString()) as Record<string, unknown>
  expect(stats).toMatchObject({ bytesWritten: 7, openMoments: 0, operations: { write: 1, create: 1 } })
  expect(JSON.parse((await paths.read('.zblkfs/config')).toString())).toMatchObject({ readOnly: false })
  expect(await codeOf(paths.open('.zblkfs/at', constants.O_WRONLY))).toBe('EACCES')
  expect(await codeOf(paths.stat('.zblkfs/other'))).toBe('ENOENT')
})
