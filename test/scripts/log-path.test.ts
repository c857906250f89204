/** The directory of log files is the user's own: another user may have made it first, with links in it. */
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { logPathFor } from '../../scripts/log-file.ts'
import { RotatingFile } from '../../scripts/rotating-file.ts'
import { withMount } from '../tools/mounted.ts'

const NOBODY = 65_534

let state: string
let before: string | undefined
beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), 'zblkfs-state-'))
  before = process.env['XDG_STATE_HOME']
  process.env['XDG_STATE_HOME'] = state
})
afterEach(async () => {
  if (before === undefined) delete process.env['XDG_STATE_HOME']
  else process.env['XDG_STATE_HOME'] = before
  await rm(state, { recursive: true, force: true })
})

test('the log is in a directory of its user', () => {
  expect(logPathFor('/mnt/x')).toBe(`${state}/zblkfs/mnt-x.log`)
})

test('a directory writable by others is not used', async () => {
  await mkdir(`${state}/zblkfs`)
  await chmod(`${state}/zblkfs`, 0o777)
  expect(logPathFor('/mnt/x')).not.toContain(state)
})

test('a link to a directory is not used', async () => {
  await mkdir(`${state}/elsewhere`, { mode: 0o700 })
  await symlink(`${state}/elsewhere`, `${state}/zblkfs`)
  expect(logPathFor('/mnt/x')).not.toContain(state)
})

test.runIf(process.getuid?.() === 0)("another user's directory is not used", async () => {
  await mkdir(`${state}/zblkfs`, { mode: 0o700 })
  await chown(`${state}/zblkfs`, NOBODY, NOBODY)
  expect(logPathFor('/mnt/x')).not.toContain(state)
})

test('a link in place of a log file is not followed', async () => {
  await writeFile(`${state}/victim`, 'of importance')
  await symlink(`${state}/victim`, `${state}/x.log`)
  expect(() => new RotatingFile(`${state}/x.log`)).toThrow(/ELOOP/)
  expect(await readFile(`${state}/victim`, 'utf8')).toBe('of importance')
})

test('a mount removes logs that were not written for 90 days, and nothing else', async () => {
  const logs = `${state}/zblkfs`
  await mkdir(logs, { mode: 0o700 })
  const daysAgo = (days: number) => Date.now() / 1000 - days * 86_400
  for (const [name, days] of [
    ['old.log', 91],
    ['old.log.1', 91],
    ['newer.log', 89],
    ['old.txt', 91],
  ] as const) {
    await writeFile(`${logs}/${name}`, '')
    await utimes(`${logs}/${name}`, daysAgo(days), daysAgo(days))
  }
  await withMount({}, async ({ dir }) => {
    const own = logPathFor(dir).slice(logs.length + 1)
    await expect.poll(() => readdir(logs)).toEqual(expect.not.arrayContaining(['old.log', 'old.log.1']))
    expect(new Set(await readdir(logs))).toEqual(new Set(['newer.log', 'old.txt', own]))
  })
})
