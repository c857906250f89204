/** `zblkfs watch` prints every transaction once, as it is made, and can be resumed. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { open, type Database } from '../../index.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

const BEGINNING = '0'.repeat(16)

interface Line {
  readonly tid: string
  readonly kind?: string
  readonly path?: string
  readonly message?: string
  readonly changes?: number
}

class Watch {
  readonly child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(...parameters: readonly string[]) {
    this.child = spawn(ZBLKFS, ['watch', ...parameters], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#lines = createInterface({ input: this.child.stdout! })[Symbol.asyncIterator]()
    onTestFinished(() => void this.child.kill('SIGKILL'))
  }

  async line(): Promise<string> {
    return (await this.#lines.next()).value as string
  }

  async json(): Promise<Line> {
    return JSON.parse(await this.line()) as Line
  }

  async end(): Promise<number | null> {
    const exited = once(this.child, 'exit')
    this.child.kill('SIGTERM')
    return ((await exited) as [number | null])[0]
  }
}

async function fresh(): Promise<Database> {
  const db = await open(temporaryDatabase(), { create: true })
  onTestFinished(() => db.close().catch(() => undefined))
  return db
}

test('follows a database beside the process that writes it', async () => {
  const db = await fresh()
  await db.files.mkdir('/d')
  await db.files.writeFile('/d/a', 'x')
  const first = await db.sync('first')
  const watch = new Watch(db.name, '--json', '--since', BEGINNING)
  const root = await watch.json()
  expect(root).toMatchObject({ changes: 0 })
  expect(await watch.json()).toMatchObject({ tid: first, kind: 'added', path: 'd' })
  expect(await watch.json()).toMatchObject({ tid: first, kind: 'added', path: 'd/a' })
  expect(await watch.json()).toMatchObject({ tid: first, message: 'first', changes: 2 })
  await db.files.rename('/d/a', '/b')
  const second = await db.sync('second')
  expect(await watch.json()).toMatchObject({ tid: second, kind: 'renamed', from: 'd/a', path: 'b' })
  expect(await watch.json()).toMatchObject({ tid: second, message: 'second' })
  expect(await watch.end()).toBe(0)

  const resumed = new Watch(db.name, '--json', '--since', first)
  expect(await resumed.json()).toMatchObject({ tid: second, path: 'b' })
  expect(await resumed.end()).toBe(0)
})

test('prints text, for a path alone', async () => {
  const db = await fresh()
  await db.files.mkdir('/in')
  await db.files.writeFile('/in/a', 'x')
  await db.files.writeFile('/out', 'x')
  await db.sync('both')
  const watch = new Watch(db.name, 'in', '--since', BEGINNING)
  expect(await watch.line()).toMatch(/^[0-9a-f]{16} {2}\S+$/)
  expect(await watch.line()).toMatch(/^[0-9a-f]{16} {2}.* both$/)
  expect([await watch.line(), await watch.line()].sort()).toEqual(['  + in', '  + in/a'])
  await db.files.unlink('/in/a')
  await db.sync('gone')
  expect(await watch.line()).toMatch(/ gone$/)
  expect(await watch.line()).toMatch(/^ {2}(\*|-) in/)
  await watch.end()
})

test('follows a mount', async () => {
  await withMount({}, async ({ dir }) => {
    await writeFile(join(dir, 'a'), 'x')
    const { exitCode } = await runZblkfs('sync', dir)
    expect(exitCode).toBe(0)
    const watch = new Watch(dir, '--json', '--since', BEGINNING)
    for (let line = await watch.json(); line.path !== 'a'; line = await watch.json()) continue
    await writeFile(join(dir, 'b'), 'x')
    await runZblkfs('sync', dir, '-m', 'by hand')
    for (let line = await watch.json(); line.path !== 'b'; line = await watch.json()) continue
    expect(await watch.end()).toBe(0)
  })
})

test('runs a command for each transaction, and ends when the command fails', async () => {
  const db = await fresh()
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-test-'))
  onTestFinished(() => rm(scratch, { recursive: true, force: true }))
  await db.files.writeFile('/a', 'x')
  const first = await db.sync('one')
  await db.files.writeFile('/b', 'x')
  const second = await db.sync('two')
  const out = join(scratch, 'out')
  const command = `echo "$ZBLKFS_TID $ZBLKFS_MESSAGE" >> '${out}'; cat >> '${out}'; [ "$ZBLKFS_TID" != ${second} ]`
  const { exitCode, stderr } = await runZblkfs('watch', db.name, '--since', BEGINNING, '--exec', command)
  expect(exitCode).toBe(1)
  expect(stderr).toContain(`exit code 1 for transaction ${second}: resume with --since ${first}\n`)
  const text = await readFile(out, 'utf8')
  expect(text).toContain(`${first} one\n{"tid":"${first}"`)
  expect(text).toContain(`${second} two\n`)
})

test('a command that does not read its input does not fail', async () => {
  const db = await fresh()
  for (let i = 0; i < 2000; i++) await db.files.writeFile(`/file-with-a-long-name-${i}`, '')
  await db.sync('many')
  await db.files.writeFile('/last', '')
  const last = await db.sync('end')
  const { stderr } = await runZblkfs(
    'watch',
    db.name,
    '--since',
    BEGINNING,
    '--exec',
    `[ $ZBLKFS_TID != ${last} ]`,
  )
  expect(stderr).toContain(`for transaction ${last}`)
})

test('refuses to start in history that a pack has dropped', async () => {
  const db = await fresh()
  await db.files.writeFile('/a', '1')
  const old = await db.sync()
  await db.files.writeFile('/a', '2')
  await db.sync()
  await db.close()
  expect((await runZblkfs('pack', db.name, '--keep', '0')).exitCode).toBe(0)
  const { exitCode, stderr } = await runZblkfs('watch', db.name, '--since', old)
  expect(exitCode).toBe(1)
  expect(stderr).toMatch(/has no moment|not whole/)
})

test('follows a ZODB database, and logs the changes of one file', async () => {
  const tiny = fileURLToPath(new URL('../fixtures/tiny.fs', import.meta.url))
  const watch = new Watch(tiny, '--json', '--since', BEGINNING)
  const changed: string[] = []
  for (let line = await watch.json(); ; line = await watch.json()) {
    if (line.path === 'A') changed.push(line.tid)
    if (line.message?.startsWith('change 5')) break
  }
  expect(await watch.end()).toBe(0)
  const { stdout } = await runZblkfs('log', tiny, 'A', '--json')
  const logged = stdout
    .trimEnd()
    .split('\n')
    .map(line => (JSON.parse(line) as Line).tid)
  expect(logged.toReversed()).toEqual(changed)
  expect(logged).toHaveLength(6)
  expect((await runZblkfs('log', tiny, 'A', '-n', '2')).stdout.match(/^040d\w+/gm)).toEqual(
    logged.slice(0, 2),
  )
  expect((await runZblkfs('log', tiny, 'no such file')).stdout).toBe('')
})
