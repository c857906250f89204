/** What commands answer about a database whose author means harm: an end, in words, within bounds. */
import { describe, expect, test } from 'vitest'
import { checkDatabase } from '../../core/check/check-database.ts'
import { describeDamage } from '../../core/check/damage.ts'
import { FileSystem } from '../../core/file-system/file-system.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { fileSizes } from '../../core/pack/file-sizes.ts'
import type { Oid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'
import {
  HOSTILE_CASES,
  makeDeepDirectories,
  makeHostileDatabase,
  type HostileCase,
} from './hostile-databases.ts'

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

describe.each(HOSTILE_CASES)('$name', hostile => {
  test('fsck names it, and repairs it', async () => {
    const path = temporaryDatabase()
    await makeHostileDatabase(path, hostile)
    const found = await check(path, false)
    expect(found.lines).toMatch(hostile.named)
    expect((await check(path, true)).left).toBe(0)
    expect((await check(path, false)).lines).toBe('')
  })

  test('every other command ends without a stack trace', async () => {
    const path = temporaryDatabase()
    await makeHostileDatabase(path, hostile)
    const commands = [
      ['df', '--files'],
      ['log', '-n', '1'],
      ['tag', '-l'],
      ['pack', '--keep', '0'],
    ]
    for (const [command = '', ...options] of commands) {
      const { stderr } = await runZblkfs(command, ...options, path)
      expect(stderr, command).not.toMatch(/^ {4}at |RangeError|TypeError/m)
    }
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

test('a path of any depth is whole', async () => {
  const path = temporaryDatabase()
  await makeDeepDirectories(path, 5000)
  const store = await openDatabase(path, { readOnly: true })
  const view = await MomentView.open(store, await store.lastTid())
  let deepest: Oid | undefined
  for await (const { inode, path } of view.walk()) if (path.endsWith('d/d')) deepest = inode.oid
  expect(await view.pathOf(deepest as Oid)).toBe(Array.from({ length: 5000 }, () => 'd').join('/'))
  await store.close()
})

test('deep directories are checked and listed in proportion to their number', async () => {
  const time = async (depth: number): Promise<number> => {
    const path = temporaryDatabase()
    await makeDeepDirectories(path, depth)
    const start = performance.now()
    expect((await check(path, false)).lines).toBe('')
    const store = await openDatabase(path, { readOnly: true })
    let files = 0
    for await (const { path } of fileSizes(store)) if (path !== '') files++
    expect(files).toBeGreaterThan(0)
    await store.close()
    return performance.now() - start
  }
  await time(10)
  const short = await time(500)
  const long = await time(4000)
  expect(long / short, 'for 8 times as many').toBeLessThan(24)
})
