/** `zblkfs log` and `zblkfs diff --text`, typed as a user would. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { open } from '../../index.ts'
import { runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'

const directory = mkdtempSync(join(tmpdir(), 'zblkfs-log-'))
const database = join(directory, 'db')
const tids: string[] = []

beforeAll(async () => {
  const db = await open(database, { create: true })
  await db.files.mkdir('/d')
  await db.files.writeFile('/d/text', 'one\ntwo\n')
  await db.files.writeFile('/gone.jpg', Buffer.alloc(2048, 1))
  tids.push(await db.sync('the \u001b[31mfirst'))
  await db.files.writeFile('/d/text', 'one\n2\n')
  await db.files.unlink('/gone.jpg')
  tids.push(await db.sync())
  await db.files.rename('/d/text', '/text')
  tids.push(await db.sync())
  await db.close()
})

const zblkfs = async (...args: string[]): Promise<readonly string[]> =>
  (await runZblkfs(...args)).stdout.trimEnd().split('\n')

test('prints marks and sizes, and each name once', async () => {
  const lines = await zblkfs('log', database, '-n', '2')
  expect(lines).toEqual([
    expect.stringMatching(RegExp(`^${tids[2]}  \\S+  1 file, .* \\w+: \\w+\\[${process.pid}\\]$`)),
    '  R  d/text -> text  (6 B)',
    expect.stringMatching(RegExp(`^${tids[1]}  \\S+  2 files, `)),
    '  M  d/text  (6 B, -2 B)',
    '  D  gone.jpg  (-2.0 KiB)',
  ])
})

test('one line per transaction', async () => {
  const lines = await zblkfs('log', database, '--oneline', '--since', tids[0]!)
  expect(lines.map(line => line.replace(/^(\S+)  \S+/, '$1'))).toEqual([
    `${tids[2]}  R text`,
    `${tids[1]}  M d/text, D gone.jpg`,
  ])
})

test.each(['7d', '2001-01-01'])('since %s, before the first transaction, lists all of them', async since => {
  const all = await zblkfs('log', database, '--oneline')
  expect(all.length).toBeGreaterThan(3)
  expect(await zblkfs('log', database, '--oneline', '--since', since)).toEqual(all)
})

test('a restore with -n lists what would change, and changes nothing', async () => {
  const before = await zblkfs('ls', database)
  expect(await zblkfs('restore', 'd', '--db', database, '--at', tids[0]!, '-n')).toContain('A  d/text')
  expect(await zblkfs('ls', database)).toEqual(before)
})

test('finds deleted files', async () => {
  expect((await zblkfs('log', database, 'gone.jpg')).filter(line => line.startsWith('  '))).toEqual([
    '  D  gone.jpg  (-2.0 KiB)',
    '    the \\x1b[31mfirst',
    '  A  gone.jpg  (2.0 KiB)',
  ])
  expect((await zblkfs('log', database, '--deleted', '*.jpg')).at(-1)).toBe('  D  gone.jpg  (-2.0 KiB)')
  expect(await zblkfs('log', database, '--deleted', '*.png')).toEqual([''])
  expect((await zblkfs('log', database, '-S', 'two\\n', '--oneline')).map(line => line.slice(0, 16))).toEqual(
    [tids[1], tids[0]],
  )
  expect((await zblkfs('log', database, '--grep', 'f[a-z]+t$', '--oneline'))[0]).toContain(tids[0])
})

test('colours are used on request, never in JSON', async () => {
  const run = (...args: string[]): string =>
    spawnSync(ZBLKFS, ['log', database, '-n', '1', ...args], {
      encoding: 'utf8',
      env: { ...process.env, FORCE_COLOR: '1' },
    }).stdout
  expect(run()).toContain('\u001b[36mR\u001b[39m')
  expect(run('-z')).not.toContain('\u001b')
  expect(JSON.parse(run('--json'))).toMatchObject({
    tid: tids[2],
    changes: [{ kind: 'renamed', path: 'text', from: 'd/text', sizeAfter: '6' }],
    writers: [{ pid: process.pid }],
  })
})

test('prints a patch that patch(1) applies', async () => {
  const { stdout } = await runZblkfs('diff', tids[0]!, tids[1]!, 'd/text', '--text', '--db', database)
  expect(stdout).toContain('\n-two\n+2\n')
  writeFileSync(join(directory, 'file'), 'one\ntwo\n')
  const applied = spawnSync('patch', [join(directory, 'file')], { input: stdout, encoding: 'utf8' })
  if (applied.error !== undefined) return
  expect(applied.status, applied.stdout + applied.stderr).toBe(0)
  expect(readFileSync(join(directory, 'file'), 'utf8')).toBe('one\n2\n')
})

test.each([
  [['--grep', '('], /not a regular expression/],
  [['-S', 'a\\q'], /is not an escape/],
  [['-S', ''], /at least one byte/],
  [['-n', 'x'], /not a number/],
])('wrong usage: %j', async (args, message) => {
  const { exitCode, stderr } = await runZblkfs('log', database, ...args)
  expect([exitCode, stderr]).toEqual([2, expect.stringMatching(message)])
})

test('reports a path that never existed', async () => {
  const { exitCode, stderr } = await runZblkfs('log', database, 'never')
  expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/there is no never at .*, nor was there one/)])
})

test('names the command that made a change, and not Node.js', async () => {
  await runZblkfs('tag', 'by-command', '--db', database)
  const [line] = await zblkfs('log', database, '-n', '1', '--json')
  expect(JSON.parse(line!)).toMatchObject({ writers: [{ program: 'zblkfs' }] })
  await runZblkfs('tag', '-d', 'by-command', '--db', database)
})
