/** How long history is kept belongs to the database: packs in the background follow it, and commands show and set it. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { keepImportedHistory } from '../../../core/foreign/import/keep-history.ts'
import { MountPacker } from '../../../mount/daemon/mount-packer.ts'
import { MemoryStore } from '../../../store/memory/memory-store.ts'
import { formatRetention, KEEP_ALL, parseRetention, storedRetention } from '../../../store/retention.ts'
import { withMount } from '../../tools/mounted.ts'
import { Paths } from '../../tools/paths.ts'
import { runZblkfs, zblkfsOutput } from '../../tools/run-zblkfs.ts'

const MIB = 1 << 20
const TEN_MINUTES_MS = 600_000
const TINY = join(import.meta.dirname, '../../fixtures/tiny.fs')
const log = pino({ level: 'silent' })

/** A database whose two moments are years old. */
async function oldDatabase(): Promise<{ store: MemoryStore; fileSystem: FileSystem; first: bigint }> {
  vi.setSystemTime(Date.UTC(2020, 0, 1))
  // The machine was up all the time: its clock has not jumped.
  const store = new MemoryStore(undefined, () => ({ wallMs: Date.now(), upMs: Date.now(), boot: '' }))
  const fileSystem = await FileSystem.open(store)
  const paths = new Paths(fileSystem)
  await paths.write('file', Buffer.alloc(8 * MIB, 1))
  const first = await fileSystem.sync()
  vi.setSystemTime(Date.UTC(2020, 0, 2))
  await paths.write('file', Buffer.alloc(8 * MIB, 2))
  await fileSystem.sync()
  vi.setSystemTime(Date.UTC(2026, 0, 1))
  return { store, fileSystem, first }
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

/** Lets a packer look at the database twice. */
async function afterTwentyMinutes(store: MemoryStore, fileSystem: FileSystem): Promise<void> {
  const packer = await MountPacker.of(store, fileSystem, log)
  packer?.watch()
  for (let round = 0; round < 2; round++) {
    await vi.advanceTimersByTimeAsync(TEN_MINUTES_MS)
    for (let turn = 0; turn < 200; turn++) await new Promise(resolve => setImmediate(resolve))
  }
  vi.useRealTimers()
  await packer?.close()
}

test('by default, a background pack drops history older than seven days', async () => {
  const { store, fileSystem, first } = await oldDatabase()
  await afterTwentyMinutes(store, fileSystem)
  expect(await store.isKept(first as never)).toBe(false)
  await fileSystem.close()
})

test('background packs keep imported history of any age', async () => {
  const { store, fileSystem, first } = await oldDatabase()
  expect(await keepImportedHistory(store)).toEqual(KEEP_ALL)
  await afterTwentyMinutes(store, fileSystem)
  expect(await store.isKept(first as never)).toBe(true)
  await fileSystem.close()
})

test('of two packs that are requested at once, the second is refused', async () => {
  vi.useRealTimers()
  const store = new MemoryStore()
  const fileSystem = await FileSystem.open(store)
  const packer = await MountPacker.of(store, fileSystem, log)
  const begun = await Promise.allSettled([packer?.start('now'), packer?.start('now')])
  expect(begun).toMatchObject([
    { status: 'fulfilled' },
    { status: 'rejected', reason: { code: 'pack-running' } },
  ])
  await packer?.close()
  await fileSystem.close()
})

test('an import keeps an existing retention setting', async () => {
  const { store, fileSystem } = await oldDatabase()
  vi.useRealTimers()
  await store.capabilities.retaining?.setRetention({ keepMs: 1000 })
  expect(await keepImportedHistory(store)).toEqual({ keepMs: 1000 })
  await fileSystem.close()
})

test('import --history, mount, pack: every imported moment is kept until the retention is set', async () => {
  vi.useRealTimers()
  await withMount({}, async mount => {
    const { db, dir } = mount
    await mount.unmount()
    await rm(db)
    await rm(`${db}-log`, { recursive: true, force: true })
    expect(await zblkfsOutput('import', '--history', TINY, db)).toContain('all history is kept, for ever')
    await mount.remount()
    const tids = (await zblkfsOutput('log', '--json', db))
      .trim()
      .split('\n')
      .map(line => (JSON.parse(line) as { tid: string }).tid)
    const oldest = tids.at(-1) ?? ''
    expect(await zblkfsOutput('pack', dir)).toContain('no moment of the history was dropped')
    await zblkfsOutput('ls', '--at', oldest, db)
    const status = JSON.parse(await zblkfsOutput('status', '--json')) as readonly Record<string, unknown>[]
    expect(status.find(({ directory }) => directory === dir)?.['history']).toBe('all')
    expect(JSON.parse(await zblkfsOutput('df', '--json', dir))).toMatchObject({ history: 'all' })
    expect(await zblkfsOutput('history', dir)).toContain('all history is kept, for ever')

    await mount.unmount()
    expect(await zblkfsOutput('pack', db)).toContain('no moment of the history was dropped')
    await mount.remount(['history=1s'])
    await mount.remount([])
    expect(JSON.parse(await zblkfsOutput('history', '--json', dir))).toEqual({
      history: '1s',
      isDefault: false,
    })
    expect(await zblkfsOutput('pack', dir)).toContain('earlier moments were dropped')
    expect((await runZblkfs('ls', '--at', oldest, db)).exitCode).toBe(1)
  })
})

test('a retention set by a command applies to the mount at once, and persists', async () => {
  vi.useRealTimers()
  await withMount({}, async mount => {
    const { db, dir } = mount
    expect(JSON.parse(await zblkfsOutput('history', '--json', dir))).toEqual({
      history: '7d',
      isDefault: true,
    })
    expect(await zblkfsOutput('history', dir, '--keep', '1s')).toContain('history is kept for 1s')
    expect((await runZblkfs('history', dir, '--keep', '7')).stderr).toContain('write 500ms, 30s')
    const first = (await zblkfsOutput('sync', '-m', 'one', dir)).trim()
    await zblkfsOutput('sync', '-m', 'two', dir)
    await new Promise(resolve => setTimeout(resolve, 1100))
    expect(await zblkfsOutput('pack', dir)).toContain('earlier moments were dropped')
    expect((await runZblkfs('ls', '--at', first, db)).exitCode).toBe(1)
    await mount.unmount()
    expect(await zblkfsOutput('history', db)).toContain('history is kept for 1s')
    expect(await zblkfsOutput('history', db, '--keep', 'all')).toContain('for ever')
  })
})

test('a retention is printed in its largest unit, and an unknown one keeps everything', () => {
  expect(parseRetention('2w')).toEqual({ keepMs: 14 * 86_400_000 })
  expect(parseRetention('30')).toBeUndefined()
  expect(formatRetention({ keepMs: 14 * 86_400_000 })).toBe('14d')
  expect(storedRetention('all=7d,fortnightly=30d')).toEqual(KEEP_ALL)
})
