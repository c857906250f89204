/** `zblkfs bisect`, typed as a user would. */
import { mkdtempSync } from 'node:fs'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { open } from '../../index.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs, zblkfsOutput } from '../tools/run-zblkfs.ts'

const database = join(mkdtempSync(join(tmpdir(), 'zblkfs-bisect-test-')), 'db')
const tids: string[] = []

const bisect = (...args: string[]): ReturnType<typeof runZblkfs> =>
  runZblkfs('bisect', 'script', '--db', database, ...args)

beforeAll(async () => {
  const db = await open(database, { create: true })
  for (let round = 0; round < 12; round++) {
    if (round === 4) await db.files.rename('/old', '/script')
    const file = round < 4 ? '/old' : '/script'
    await db.files.writeFile(file, `#!/bin/sh\n# ${round}\nexit ${round < 7 ? 0 : 1}\n`, { mode: 0o755 })
    await db.files.writeFile('/other', String(round))
    tids.push(await db.sync())
  }
  await db.close()
})

test('finds the transaction in a database without a mount, across a rename', async () => {
  const { stdout, stderr, exitCode } = await bisect('--', 'sh', '-c', '{}')
  expect(stderr.split('\n').length).toBeLessThan(8)
  expect(exitCode).toBe(0)
  expect(stdout).toMatch(RegExp(`^${tids[7]}  `))
  const json = await bisect('--json', '--', 'sh')
  expect(JSON.parse(json.stdout)).toMatchObject({ tid: tids[7] })
})

test('the command gets the tid, and may leave states unjudged', async () => {
  const script = `case $ZBLKFS_TID in ${tids[6]}|${tids[5]}) exit 125;; esac; exec sh "$1"`
  const { stdout, stderr, exitCode } = await bisect('--good', tids[2]!, '--', 'sh', '-c', script, 'sh')
  expect(stderr).toContain(`${tids[2]}  `)
  expect(stdout.match(/^[0-9a-f]{16}/gm)).toEqual([tids[5], tids[6], tids[7]])
  expect(stderr).toContain('the first bad one is one of these')
  expect(exitCode).toBe(1)
})

test('refuses ends that are not good and bad, and a command that cannot run', async () => {
  const run = async (...args: string[]): Promise<string> => {
    const { stderr, exitCode } = await bisect(...args)
    expect(exitCode).toBe(1)
    return stderr
  }
  expect(await run('--', 'true')).toContain(`the last state, ${tids[11]}, is good`)
  expect(await run('--', 'false')).toContain(`the first state, ${tids[0]}, is bad`)
  expect(await run('--bad', tids[6]!, '--', 'sh')).toContain(`the last state, ${tids[6]}, is good`)
  expect(await run('--good', tids[9]!, '--', 'sh')).toContain(`the first state, ${tids[9]}, is bad`)
  expect(await run('--', '/no/such/program')).toContain('exit code 127')
  expect(await run('--', 'sh', '-c', 'kill -9 $$')).toContain('exit code 137')
  expect((await runZblkfs('bisect', 'nothing', '--db', database, '--', 'true')).stderr).toContain(
    'there is no nothing',
  )
  expect((await runZblkfs('bisect', '', '--db', database, '--', 'true')).stderr).toContain(
    'mount the database',
  )
  expect((await runZblkfs('bisect', 'script', '--db', database)).exitCode).toBe(2)
})

test('searches a directory of a mount', async () => {
  await withMount({}, async ({ dir }) => {
    await mkdir(join(dir, 'src'))
    const made: string[] = []
    for (let round = 0; round < 6; round++) {
      await writeFile(join(dir, 'src', `file${round}`), 'x')
      if (round === 3) await rm(join(dir, 'src', 'file0'))
      made.push((await zblkfsOutput('sync', dir)).trim())
    }
    await rename(join(dir, 'src'), join(dir, 'src2'))
    await rename(join(dir, 'src2'), join(dir, 'src'))
    await zblkfsOutput('sync', dir)
    const { stdout, stderr } = await runZblkfs('bisect', join(dir, 'src'), '--', 'test', '-e', '{}/file0')
    expect(stdout.slice(0, 16), stderr).toBe(made[3])
  })
})

test('a file that was replaced is shown as changed, with what else the transaction changed', async () => {
  const path = `${database}-replaced`
  const db = await open(path, { create: true })
  for (let round = 0; round < 4; round++) {
    await db.files.replaceFile('/script', `exit ${round < 2 ? 0 : 1}`)
    await db.files.mkdir('/dir').catch(() => undefined)
    await db.files.replaceFile('/dir/script', `exit ${round < 2 ? 0 : 1}`)
    await db.files.writeFile('/dir/other', String(round))
    await db.sync()
  }
  await db.close()
  const { stdout } = await runZblkfs('bisect', 'script', '--db', path, '--', 'sh')
  expect(stdout.split('\n').slice(1)).toEqual([
    '  M  dir/other  (1 B)',
    '  M  dir/script  (6 B)',
    '  M  script  (6 B)',
    '',
  ])
})
