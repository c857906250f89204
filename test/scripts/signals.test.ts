/** Signals and a closed terminal end a mount at any moment of its life: everything is stored, and no dead mount remains. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'

const UNTIL = { timeout: 20_000, interval: 1 }

interface Foreground {
  readonly dir: string
  readonly db: string
  readonly daemon: ChildProcess
  readonly ended: Promise<unknown[]>
}

/** Mounts a fresh database in the foreground, its output in pipes; resolves when the directory is a mount. */
async function mountInForeground(): Promise<Foreground> {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-test-'))
  const dir = join(scratch, 'mnt')
  const db = join(scratch, 'data.zblk')
  await mkdir(dir)
  const daemon = spawn(ZBLKFS, ['mount', '-f', db, dir, '-o', 'driver=kernel,commit_interval=1h'], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(daemon, 'exit')
  onTestFinished(async () => {
    daemon.kill('SIGKILL')
    await ended
    while (mountedAt(dir) !== undefined) await runProgram('umount', ['-l', dir])
    await rm(scratch, { recursive: true, force: true })
  })
  await expect.poll(() => mountedAt(dir), UNTIL).toBeDefined()
  return { dir, db, daemon, ended }
}

/** The content of a file when the database is mounted again. */
async function contentAfterwards({ dir, db }: Foreground, name: string): Promise<string> {
  expect(await runZblkfs('mount', db, dir, '-o', 'driver=kernel')).toMatchObject({ exitCode: 0, stderr: '' })
  try {
    return await readFile(join(dir, name), 'utf8')
  } finally {
    await runZblkfs('umount', dir)
  }
}

test('a signal right after the mount appears removes it again', async () => {
  const { dir, daemon, ended } = await mountInForeground()
  daemon.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
  expect(mountedAt(dir)).toBeUndefined()
})

test('two signals at once, as at the end of a session, store everything and exit with 0', async () => {
  const mount = await mountInForeground()
  await writeFile(join(mount.dir, 'file'), 'kept')
  mount.daemon.kill('SIGTERM')
  mount.daemon.kill('SIGHUP')
  expect(await mount.ended).toEqual([0, null])
  expect(mountedAt(mount.dir)).toBeUndefined()
  expect(await contentAfterwards(mount, 'file')).toBe('kept')
})

test('closing the terminal loses no written data', async () => {
  const mount = await mountInForeground()
  await writeFile(join(mount.dir, 'file'), 'kept')
  mount.daemon.stdout?.destroy()
  mount.daemon.stderr?.destroy()
  mount.daemon.kill('SIGHUP')
  await mount.ended
  expect(mountedAt(mount.dir)).toBeUndefined()
  expect(await contentAfterwards(mount, 'file')).toBe('kept')
})
