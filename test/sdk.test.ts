/** The examples and the page about the SDK, run by a consumer who has installed the package. */
import { createServer } from 'node:http'
import { once } from 'node:events'
import { execFile, spawn } from 'node:child_process'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { open } from '../index.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const TIMEOUT_MS = 300_000
const run = promisify(execFile)
let project = ''

/** A project that has the packed files as node_modules/zblkfs, and the packages that it depends on. */
beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'zblkfs-consumer-'))
  const installed = join(project, 'node_modules', 'zblkfs')
  await mkdir(installed, { recursive: true })
  await run(
    join(ROOT, 'node_modules/.bin/tsc'),
    ['-p', 'tsconfig.build.json', '--outDir', join(installed, 'dist')],
    {
      cwd: ROOT,
    },
  )
  await cp(join(ROOT, 'package.json'), join(installed, 'package.json'))
  for (const name of await readdir(join(ROOT, 'node_modules')))
    if (!name.startsWith('.'))
      await symlink(join(ROOT, 'node_modules', name), join(project, 'node_modules', name))
  await cp(join(ROOT, 'examples'), join(project, 'examples'), { recursive: true })
  await writeFile(join(project, 'package.json'), '{ "private": true, "type": "module" }')
  const compilerOptions = {
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    module: 'nodenext',
    strict: true,
    noEmit: true,
    exactOptionalPropertyTypes: true,
    types: ['node'],
  }
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({ compilerOptions, include: ['*.ts', 'examples'] }),
  )
}, TIMEOUT_MS)

afterAll(() => rm(project, { recursive: true, force: true }))

const node = async (...argv: readonly string[]): Promise<string> =>
  (await run(process.execPath, [...argv], { cwd: project, timeout: TIMEOUT_MS })).stdout

test('the types hold for a consumer, without skipping declarations', { timeout: TIMEOUT_MS }, async () => {
  await writeFile(
    join(project, 'consumer.ts'),
    `import { open, FileError, type Change, type Database } from 'zblkfs'
     const db: Database = await open('x.zblk', { create: true })
     const text: string = await db.files.readFile('/a', 'utf8')
     const bytes: Buffer = await db.files.readFile('/a')
     const size: number = (await db.files.stat('/a')).size
     const result: number = await db.transaction(async tx => { await tx.unlink('/a'); return size })
     // @ts-expect-error there is no such flag
     await db.files.open('/a', 'q')
     // @ts-expect-error an encoding makes it a string
     const wrong: Buffer = await db.files.readFile('/a', 'utf8')
     for await (const { changes } of db.watch()) for await (const change of changes()) { const one: Change = change; console.log(one) }
     try { await db.close() } catch (error) { if (error instanceof FileError) console.log(error.code === 'ENOENT', text, bytes, result, wrong) }`,
  )
  await run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', project])
})

test('an import of it sets no V8 flag and leaves no handle open', { timeout: TIMEOUT_MS }, async () => {
  const program = `
    const before = [process.listenerCount('SIGTERM'), process.listenerCount('exit'), typeof globalThis.gc]
    await import('zblkfs')
    const after = [process.listenerCount('SIGTERM'), process.listenerCount('exit'), typeof globalThis.gc]
    console.log(JSON.stringify(before) === JSON.stringify(after), process.getActiveResourcesInfo().length)`
  await writeFile(join(project, 'import.mjs'), program)
  expect(await node('import.mjs')).toMatch(/^true [01]\n$/)
})

test('sensor-log', { timeout: TIMEOUT_MS }, async () => {
  const output = await node('examples/sensor-log.ts', 'sensors.zblk')
  expect(output).toMatch(/^\d+ bytes of measurements\nhour-\S+ is transaction [0-9a-f]{16}\n$/)
})

test('array', { timeout: TIMEOUT_MS }, async () => {
  const output = await node('examples/array.ts', 'arrays.zblk')
  const start = Math.floor((1234 * 8000) / 4096) * 4096
  expect(output).toBe(`array.f64: bytes ${start} to ${Math.ceil((1235 * 8000) / 4096) * 4096} changed\n`)
})

test('sqlite-backup', { timeout: TIMEOUT_MS }, async () => {
  const db = await open(join(project, 'files.zblk'), { create: true })
  await db.files.writeFile('/main.sqlite3', 'pages')
  await db.files.writeFile('/main.sqlite3-wal', 'frames')
  await db.close()
  await node('examples/sqlite-backup.ts', 'files.zblk', '/main.sqlite3', 'backup')
  expect(await readFile(join(project, 'backup', 'main.sqlite3'), 'utf8')).toBe('pages')
  expect(await readFile(join(project, 'backup', 'main.sqlite3-wal'), 'utf8')).toBe('frames')
})

test('webhook', { timeout: TIMEOUT_MS }, async () => {
  const bodies: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (data: Buffer) => (body += data.toString()))
    request.on('end', () => {
      bodies.push(body)
      response.end()
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const path = join(project, 'hooked.zblk')
  const db = await open(path, { create: true })
  const first = await db.sync()
  await writeFile(join(project, 'last-tid'), first)
  const hook = spawn(
    process.execPath,
    ['examples/webhook.ts', path, `http://127.0.0.1:${port}/`, join(project, 'last-tid')],
    { cwd: project, stdio: ['ignore', 'inherit', 'inherit'] },
  )
  try {
    await db.files.writeFile('/a', 'x')
    const tid = await db.sync('made')
    await expect.poll(() => bodies, { timeout: 30_000 }).toHaveLength(1)
    expect(JSON.parse(bodies[0]!)).toEqual({ tid, message: 'made', files: [{ kind: 'added', path: 'a' }] })
    await expect.poll(() => readFile(join(project, 'last-tid'), 'utf8'), { timeout: 10_000 }).toBe(tid)
  } finally {
    const exited = once(hook, 'exit')
    hook.kill('SIGTERM')
    await exited
    server.close()
    await db.close()
  }
})

test('the examples in docs/sdk.md run', { timeout: TIMEOUT_MS }, async () => {
  const page = await readFile(join(ROOT, 'docs', 'sdk.md'), 'utf8')
  const blocks = [...page.matchAll(/```ts\n(.*?)```/gs)].map(([, block]) => block ?? '')
  const [first = '', transaction = '', past = '', watch = '', copy = ''] = blocks
  const program = [
    first.replace(
      'await db.close()',
      "await db.files.writeFile('/config', ''); await db.files.mkdir('/data'); await db.sync()",
    ),
    transaction,
    past.replace('10min', 'now').replace('await db.undo(tid)', ''),
    watch.replace(
      "watch({ since: '0000000000000000' })",
      "watch({ since: '0000000000000000', signal: AbortSignal.timeout(1000) })",
    ),
    copy,
    'await db.close()',
  ]
  await writeFile(join(project, 'page.ts'), program.join('\n'))
  await run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', project])
  const output = await node('page.ts')
  expect(output).toContain('hello')
  expect(output).toContain('the upgrade')
})
