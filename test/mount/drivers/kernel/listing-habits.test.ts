/** What a program that only lists names costs, and that one that uses the inodes as well gets them. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ListingHabits } from '../../../../mount/drivers/kernel/listing-habits.ts'
import { withMount } from '../../../tools/mounted.ts'
import { runProgram } from '../../../tools/run-zblkfs.ts'

const DIRECTORIES = 6
const FILES = 100

describe('habits', () => {
  test('are those of each process, and processes of other namespaces have none', () => {
    const habits = new ListingHabits()
    habits.continued(7, false)
    habits.continued(0, false)
    expect([7, 8, 0].map(pid => habits.listsNames(pid))).toEqual([true, false, false])
  })

  test('are forgotten when many other processes have listed', () => {
    const habits = new ListingHabits()
    for (let pid = 1; pid <= 1000; pid++) habits.continued(pid, false)
    expect([habits.listsNames(1), habits.listsNames(1000)]).toEqual([false, true])
  })
})

test('find loads inodes of the first directory only, ls -lR those of all', { timeout: 60_000 }, async () => {
  await withMount({ driver: 'kernel' }, async mount => {
    const { dir } = mount
    for (let directory = 0; directory < DIRECTORIES; directory++) {
      mkdirSync(join(dir, `d${directory}`))
      for (let file = 0; file < FILES; file++)
        writeFileSync(join(dir, `d${directory}`, `f${file}`), 'x'.repeat(file))
    }
    const counts = (): Record<string, number> =>
      (JSON.parse(readFileSync(join(dir, '.zblkfs/stats'), 'utf8')) as { operations: Record<string, number> })
        .operations
    await mount.remount()
    const found = await runProgram('find', [dir, '-type', 'f', '-not', '-path', '*/.zblkfs/*'])
    expect(found.stdout.trimEnd().split('\n')).toHaveLength(DIRECTORIES * FILES)
    const { readdirplus = 0, lookup = 0 } = counts()
    expect(readdirplus).toBeLessThan(DIRECTORIES)
    expect(lookup).toBeLessThan(FILES)
    const listed = await runProgram('ls', ['-lR', dir])
    for (let file = 0; file < FILES; file++)
      expect(listed.stdout.match(new RegExp(` ${file} .* f${file}$`, 'gm'))).toHaveLength(DIRECTORIES)
    await mount.remount()
    await runProgram('ls', ['-lR', dir])
    expect(counts()['lookup']).toBeLessThan(FILES)
  })
})
