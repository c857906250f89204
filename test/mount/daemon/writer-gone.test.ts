/** The writer's thread of a daemon dies: nothing can be stored any more, and that is said instead of tried for ever. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { mountedAt } from '../../../mount/mount-points/mount-table.ts'
import { runProgram, runZblkfs } from '../../tools/run-zblkfs.ts'

let scratch: string
let dir: string
let db: string
let daemon: ChildProcess
let logged: string

beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'zblkfs-test-'))
  dir = join(scratch, 'mnt')
  db = join(scratch, 'data.zblk')
  await mkdir(dir)
  daemon = fork(join(import.meta.dirname, 'mortal-writer.ts'), [db, dir], {
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  })
  logged = ''
  daemon.stderr?.on('data', (data: Buffer) => (logged += data.toString()))
  expect((await once(daemon, 'message'))[0]).toBe('mounted')
  await writeFile(join(dir, 'stored'), 'stored')
  expect((await runZblkfs('sync', dir)).exitCode).toBe(0)
})

afterEach(async () => {
  daemon.kill('SIGKILL')
  if (mountedAt(dir) !== undefined) await runProgram('umount', ['-l', dir])
  await rm(scratch, { recursive: true, force: true })
})

async function endWriter(): Promise<void> {
  daemon.send('end')
  expect((await once(daemon, 'message'))[0]).toBe('gone')
}

async function whatIsThere(): Promise<string[]> {
  expect((await runZblkfs('mount', db, dir)).stderr).toBe('')
  const names = await readdir(dir)
  expect((await runZblkfs('umount', dir)).exitCode).toBe(0)
  return names
}

test('zblkfs umount unmounts, reports since when changes are lost, and fails', async () => {
  await writeFile(join(dir, 'lost'), 'lost')
  await endWriter()
  expect(await readFile(join(dir, 'lost'), 'utf8')).toBe('lost')
  const exited = once(daemon, 'exit')
  const { exitCode, stderr } = await runZblkfs('umount', dir)
  expect(exitCode).toBe(1)
  expect(stderr).toMatch(
    /is unmounted, but changes after transaction [0-9a-f]{16} \(.+Z\) are lost: the writer of .+ has ended/,
  )
  expect((await exited)[0]).toBe(1)
  expect(await whatIsThere()).toEqual(['stored'])
})

test('unmounted from outside, the daemon ends with an error and a line in the log', async () => {
  await writeFile(join(dir, 'lost'), 'lost')
  await endWriter()
  const exited = once(daemon, 'exit')
  expect((await runProgram('umount', [dir])).exitCode).toBe(0)
  expect((await exited)[0]).toBe(1)
  expect(logged).toContain('changes are lost')
  expect(await whatIsThere()).toEqual(['stored'])
})

test('without lost changes nothing is reported', async () => {
  await endWriter()
  const exited = once(daemon, 'exit')
  expect((await runZblkfs('umount', dir)).stderr).toBe('')
  expect((await exited)[0]).toBe(0)
  expect(await whatIsThere()).toEqual(['stored'])
})
