/** Every command on a hostile database ends within bounds, with a message. */
import { describe, expect, test } from 'vitest'
import { checkDatabase } from '../../core/check/check-database.ts'
import { describeDamage } from '../../core/check/damage.ts'
import { FileSystem } from '../../core/file-system/file-system.ts'
import { differences } from '../../core/history/difference.ts'
import { log } from '../../core/history/log.ts'
import { MomentView, type WalkedEntry } from '../../core/history/moment-view.ts'
import { fileSizes } from '../../core/pack/file-sizes.ts'
import { StoreError } from '../../store/errors.ts'
import type { Tid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import { commandsOn, runCommands, STACK_TRACE } from './run-commands.ts'
import { longestTurn } from '../tools/longest-turn.ts'
import { useAll } from './use-all.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'
import {
  HOSTILE_CASES,
  makeDeepDirectories,
  makeHostileDatabase,
  type HostileCase,
} from './hostile-databases.ts'

/** A loaded machine is slow: the time does not grow with what the database claims. */
const STEP_SECONDS = 2 * (process.env['CI'] === undefined ? 5 : 10)

/** The longest time that the event loop may stand still, in processor time: the requests of a mount, and fsck, in which SQLite checks its index by one call. */
const TURN_MAX_MS = 100
const CHECK_TURN_MAX_MS = 300

async function check(path: string, repair: boolean): Promise<{ lines: string; left: number }> {
  const lines: string[] = []
  const summary = await checkDatabase(path, {
    data: false,
    repair,
    report: damage => lines.push(describeDamage(damage)),
    progress: () => {},
  })
  return { lines: lines.join('\n'), left: summary.left }
}

async function allOf<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

describe.each(HOSTILE_CASES)('$name', hostile => {
  test('fsck reports and repairs it', async () => {
    const path = temporaryDatabase()
    await makeHostileDatabase(path, hostile)
    const { result: found, longestMs } = await longestTurn(() => check(path, false))
    expect(longestMs).toBeLessThan(CHECK_TURN_MAX_MS)
    expect(found.lines).toMatch(hostile.named)
    expect((await check(path, true)).left).toBe(0)
    expect((await check(path, false)).lines).toBe('')
  })

  test('every other command ends with a message, in bounded time and memory', async () => {
    const path = temporaryDatabase()
    await makeHostileDatabase(path, hostile)
    const { outcomes, peakMiB } = await runCommands(commandsOn(path))
    for (const { command, seconds, exitCode, stderr } of outcomes) {
      expect(stderr, command).not.toMatch(STACK_TRACE)
      expect(exitCode, command).toBeLessThanOrEqual(4)
      expect(seconds, command).toBeLessThan(STEP_SECONDS)
    }
    expect(peakMiB).toBeLessThan(300)
  })

  test('a mount of it replies to every request, and ends', async () => {
    const path = temporaryDatabase()
    await makeHostileDatabase(path, hostile)
    const started = performance.now()
    const { result, longestMs } = await longestTurn(() => useAll(path))
    const { lists, refused, unexpected } = result
    // Other requests, timers and signals wait this long at most.
    expect(longestMs).toBeLessThan(TURN_MAX_MS)
    expect(unexpected).toEqual([])
    // What cannot be used does not hide what can.
    if (!refused.some(line => /^(open|assemble):/.test(line))) expect(lists).toContain('/')
    expect(refused.filter(line => /^(sync|close):/.test(line))).toEqual([])
    expect((performance.now() - started) / 1000).toBeLessThan(STEP_SECONDS * 2)
  })
})

test('a filesystem whose root is not a directory is not mounted', async () => {
  const path = temporaryDatabase()
  const hostile = HOSTILE_CASES.find(({ name }) => name === 'a root directory that is a file')
  await makeHostileDatabase(path, hostile as HostileCase)
  const store = await openDatabase(path)
  await expect(FileSystem.open(store)).rejects.toThrow('is not a directory')
  await store.close()
})

test.each([
  'entries that lead to no inode',
  'an inode that was left out of a commit',
  'a directory whose tree of entries has 2^30 ways to its end',
])('%s: the other files and all transactions are listed', async name => {
  const path = temporaryDatabase()
  await makeHostileDatabase(path, HOSTILE_CASES.find(each => each.name === name) as HostileCase)
  const store = await openDatabase(path, { readOnly: true })
  await expect(allOf(fileSizes(store))).rejects.toThrow(StoreError)
  const damaged: string[] = []
  const files = await allOf(fileSizes(store, damagedPath => damaged.push(damagedPath)))
  expect(damaged.length).toBeGreaterThan(0)
  if (!damaged.includes('/a')) expect(files.map(file => file.path)).toContain('/a/logged')
  const logged = await allOf(log(store, { listsDamaged: true }))
  expect(logged.map(({ info }) => info.tid)).toEqual(
    (await allOf(store.transactions({ reverse: true }))).map(({ tid }) => tid),
  )
  expect(logged.at(-2)?.changes.length).toBeGreaterThan(0)
  await store.close()
})

test('a long path is shortened in the middle, with the omitted length', async () => {
  const path = temporaryDatabase()
  await makeDeepDirectories(path, 5000)
  const store = await openDatabase(path, { readOnly: true })
  const view = await MomentView.open(store, await store.lastTid())
  let last: WalkedEntry | undefined
  let shown = 0
  for await (const entry of view.walk()) {
    if (entry.name === 'd') last = entry
    shown = Math.max(shown, entry.path.text.length)
  }
  const levels = (text: string): number => text.split('/').filter(name => name === 'd').length
  const text = (await view.pathOf(last!.inode.oid))?.text ?? ''
  const leftOut = Number(/^(?:d\/)+\(\.\.\. (\d+) names left out \.\.\.\)(?:\/d)+$/.exec(text)?.[1])
  expect(levels(text) + leftOut).toBe(5000)
  expect(text).toBe(last?.path.text)
  expect(Math.max(shown, text.length)).toBeLessThan(5200)
  await store.close()
})

test('deep directories are checked, listed, logged and compared in proportion to their number', async () => {
  const time = async (depth: number): Promise<number> => {
    const path = temporaryDatabase()
    await makeDeepDirectories(path, depth)
    const start = performance.now()
    expect((await check(path, false)).lines).toBe('')
    const store = await openDatabase(path, { readOnly: true })
    let files = 0
    for await (const { path } of fileSizes(store)) if (path !== '') files++
    expect(files).toBeGreaterThan(0)
    const tids: Tid[] = []
    for await (const { info, changes } of log(store)) if (changes.length > 0) tids.push(info.tid)
    let added = 0
    for await (const { kind } of differences(store, tids[1]!, tids[0]!)) if (kind === 'added') added++
    expect(added).toBe(depth)
    await store.close()
    return performance.now() - start
  }
  await time(10)
  const short = await time(500)
  const long = await time(4000)
  expect(long / short, 'for 8 times as many').toBeLessThan(24)
})
