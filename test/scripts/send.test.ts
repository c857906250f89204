/** `zblkfs send` and `zblkfs receive`, as a user types them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { open, receive, type Database } from '../../index.ts'
import { openDatabase } from '../../store/open-store.ts'
import { withMount } from '../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

async function fresh(): Promise<Database> {
  const db = await open(temporaryDatabase(), { create: true })
  onTestFinished(() => db.close().catch(() => undefined))
  return db
}

const shell = (script: string) => runProgram('bash', ['-o', 'pipefail', '-c', script])
const send = (parameters: string, to: string) => shell(`${ZBLKFS} send ${parameters} > ${to}`)

test('a copy is created, updated, and refused if the stream does not fit', async () => {
  const db = await fresh()
  await db.files.writeFile('/big', Buffer.alloc(3 << 20, 7))
  const first = await db.sync('first')
  const copy = temporaryDatabase()
  const piped = await shell(`${ZBLKFS} send ${db.name} | ${ZBLKFS} receive ${copy}`)
  expect(piped).toMatchObject({ exitCode: 0, stderr: '' })
  expect(piped.stdout).toMatch(
    new RegExp(`^received 2 transactions, 3\\.\\d MiB; .* now ends with ${first}\n$`),
  )
  await db.files.writeFile('/small', 'x')
  await db.clone('/big', '/clone')
  const second = await db.sync()
  const { stdout } = await runZblkfs('send', db.name, '--from', first, '--dry-run', '--json')
  const changes = join(dirname(copy), 'changes')
  await send(`${db.name} --from ${first}`, changes)
  const stream = await readFile(changes)
  expect(JSON.parse(stdout)).toMatchObject({ bytes: stream.length })
  expect(stream.length).toBeLessThan(100_000)

  await truncate(changes, stream.length - 20)
  const cut = await runZblkfs('receive', copy, changes)
  expect(cut).toMatchObject({ exitCode: 1, stdout: '' })
  const resume = /--resume ([0-9a-f]{16})'/.exec(cut.stderr)?.[1] ?? ''
  const resumed = await shell(
    `${ZBLKFS} send ${db.name} --resume ${resume} | ${ZBLKFS} receive ${copy} --json`,
  )
  expect(JSON.parse(resumed.stdout)).toMatchObject({ tid: second })
  const { exitCode } = await runZblkfs('fsck', '--data', copy)
  expect(exitCode).toBe(0)

  const other = await fresh()
  const refused = await runZblkfs('receive', other.name, changes, '--json')
  expect(refused.exitCode).toBe(1)
  expect(JSON.parse(refused.stdout)).toMatchObject({ error: { code: 'locked', kind: 'retry' } })
  await other.close()
  const different = await runZblkfs('receive', other.name, changes)
  expect(different.stderr).toContain('another history')
  const changed = await open(copy)
  await changed.files.writeFile('/own', 'y')
  await changed.close()
  await db.files.writeFile('/third', 'z')
  await db.sync()
  await send(`${db.name} --from ${second}`, changes)
  expect((await runZblkfs('receive', copy, changes)).stderr).toContain('has diverged')
})

test('a new copy uses the compression of its source', async () => {
  const db = await open(temporaryDatabase(), { create: true, compression: 'zstd' })
  await db.files.writeFile('/zeros', Buffer.alloc(5 << 20, 'text '))
  const tid = await db.sync()
  const copy = temporaryDatabase()
  await receive(copy, db.send())
  await db.close()
  const store = await openDatabase(copy, { readOnly: true })
  expect(await store.capabilities.compressing?.compression()).toBe('zstd')
  expect((await store.capabilities.measuring?.space())?.totalBytes).toBeLessThan(2 << 20)
  await store.close()
  const again = await open(copy, { readOnly: true })
  expect((await again.at(tid).readFile('/zeros')).equals(Buffer.alloc(5 << 20, 'text '))).toBe(true)
  await again.close()
})

test('input that is not a stream creates no database', async () => {
  const name = temporaryDatabase()
  const refused = await runZblkfs('receive', name, ZBLKFS)
  expect(refused.exitCode).toBe(1)
  expect(refused.stderr).toContain('not a sound stream')
  expect(existsSync(name)).toBe(false)
  expect(existsSync(`${name}-log`)).toBe(false)
})

test('a receiver that ends early, a full disk and wrong options are reported', async () => {
  const db = await fresh()
  await db.files.writeFile('/big', Buffer.alloc(3 << 20, 7))
  await db.sync()
  const ended = await shell(`${ZBLKFS} send ${db.name} | head -c 100 > /dev/null`)
  expect(ended).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('receiver has ended') })
  const full = await shell(`${ZBLKFS} send ${db.name} > /dev/full`)
  expect(full).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('no space left') })
  for (const [parameters, message] of [
    [['--from', 'now', '--resume', '0'.repeat(16)], 'exclude each other'],
    [['--resume', 'x'], '16 hex digits'],
  ] as const) {
    const wrong = await runZblkfs('send', db.name, ...parameters)
    expect(wrong).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(message) })
  }
})

test('both ends may be mounted: a read-only mount of the copy follows', async () => {
  await withMount({}, async ({ dir: directory, scratch }) => {
    await writeFile(join(directory, 'a'), 'one')
    const copy = join(scratch, 'copy.zblk')
    await shell(`${ZBLKFS} send ${directory} | ${ZBLKFS} receive ${copy}`)
    const shown = join(scratch, 'shown')
    await mkdir(shown)
    expect(await runZblkfs('mount', copy, shown, '-o', 'ro')).toMatchObject({ exitCode: 0 })
    try {
      expect(await readFile(join(shown, 'a'), 'utf8')).toBe('one')
      await writeFile(join(directory, 'a'), 'two')
      const { tid } = JSON.parse((await runZblkfs('receive', copy, '--state')).stdout) as {
        readonly tid: string
      }
      const added = await shell(`${ZBLKFS} send ${directory} --from ${tid} | ${ZBLKFS} receive ${shown}`)
      expect(added.stderr).toBe('')
      await expect.poll(() => readFile(join(shown, 'a'), 'utf8'), { timeout: 10_000 }).toBe('two')
      const written = await shell(`${ZBLKFS} send ${copy} | ${ZBLKFS} receive ${directory}`)
      expect(written).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('mounted at') })
    } finally {
      await runZblkfs('umount', shown)
    }
  })
})

test('a stream is neither written to a terminal nor read from one', async () => {
  for (const command of ['send', 'receive']) {
    const child = spawn('script', ['-qec', `${ZBLKFS} ${command} ${temporaryDatabase()}`, '/dev/null'])
    let output = ''
    child.stdout.on('data', (data: Buffer) => (output += data.toString()))
    const [code] = (await once(child, 'exit')) as [number]
    expect(code).toBe(2)
    expect(output).toContain('terminal')
  }
})
