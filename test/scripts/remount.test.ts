import { once } from 'node:events'
import { createServer } from 'node:net'
import { open, readFile, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { withMount } from '../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'

const isRoot = process.getuid?.() === 0

test('remount changes commit options and metrics, and names the options it cannot change', async () => {
  await withMount({ options: ['cache_size=8M', 'commit_interval=1h'] }, async ({ dir, db }) => {
    const remount = async (options: string) => await runZblkfs('mount', db, dir, '-o', `remount,${options}`)
    const stats = async () =>
      JSON.parse((await runZblkfs('stats', dir, '--json')).stdout) as {
        readonly fileSystem: { readonly dirtyLimitBytes: number; readonly commits: number }
      }
    expect(
      await remount('commit_interval=100ms,dirty_size=5M,history=all,metrics=19475,cache_size=8M'),
    ).toEqual({
      exitCode: 0,
      stdout: `${dir} has the new options\n`,
      stderr: '',
    })
    const before = (await stats()).fileSystem
    expect(before.dirtyLimitBytes).toBe(5 << 20)
    await writeFile(join(dir, 'file'), 'x')
    await expect
      .poll(async () => (await stats()).fileSystem.commits, { timeout: 20_000 })
      .toBeGreaterThan(before.commits)
    expect((await runZblkfs('history', dir)).stdout).toContain('all')
    expect(await (await fetch('http://127.0.0.1:19475/metrics')).text()).toContain('zblkfs_dirty_limit_bytes')
    expect(await remount('metrics=19476')).toMatchObject({ exitCode: 0 })
    await expect(fetch('http://127.0.0.1:19475/metrics')).rejects.toThrow()
    // The same place again is no change; a place that cannot be had changes nothing.
    expect(await remount('metrics=19476')).toMatchObject({ exitCode: 0 })
    const taken = createServer().listen(19477, '127.0.0.1')
    await once(taken, 'listening')
    expect(await remount('metrics=19477,dirty_size=6M')).toMatchObject({ exitCode: 1 })
    taken.close()
    const kept = await (await fetch('http://127.0.0.1:19476/metrics')).text()
    expect(kept).toMatch(/^zblkfs_dirty_limit_bytes\{.*\} 5242880$/m)
    const refused = await remount('cache_size=64M')
    expect(refused).toMatchObject({ exitCode: 1, stdout: '' })
    expect(refused.stderr).toMatch(/cache_size cannot be changed while it is mounted/)
    expect((await remount('nonsense')).stderr).toMatch(/no mount option 'nonsense'/)
    expect((await runZblkfs('mount', db, '/usr', '-o', 'remount,ro')).stderr).toMatch(/not in a zblkfs mount/)
  })
})

test.runIf(isRoot)('remount changes the flags of the kernel, also as mount(8) calls the helper', async () => {
  await withMount({}, async ({ dir, db }) => {
    const helper = join(import.meta.dirname, '../../scripts/package/files/mount.zblkfs')
    const viaHelper = async (options: string) =>
      await runProgram('env', [
        `PATH=${join(ZBLKFS, '..')}:${process.env['PATH']}`,
        'sh',
        helper,
        db,
        dir,
        '-o',
        options,
      ])
    await writeFile(join(dir, 'file'), 'x')
    // What mount(8) passes on of /proc/self/mountinfo, and what was asked for.
    const passed = 'rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions'
    expect(await viaHelper(`${passed},remount,ro,noexec,noatime`)).toMatchObject({ exitCode: 0, stderr: '' })
    expect(mountedAt(dir)?.options).toEqual(
      expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec', 'noatime']),
    )
    await expect(writeFile(join(dir, 'file'), 'y')).rejects.toThrow('EROFS')
    const [status] = (
      JSON.parse((await runZblkfs('status', '--json')).stdout) as { directory: string; readOnly: boolean }[]
    ).filter(({ directory }) => directory === dir)
    expect(status?.readOnly).toBe(true)
    expect(await viaHelper('remount,rw')).toMatchObject({ exitCode: 0, stderr: '' })
    expect(mountedAt(dir)?.options).toEqual(
      expect.arrayContaining(['rw', 'nosuid', 'nodev', 'noexec', 'noatime']),
    )
    await writeFile(join(dir, 'file'), 'y')
    // Since noatime, reading changes no access time.
    await utimes(join(dir, 'file'), 1, 2)
    await readFile(join(dir, 'file'))
    expect((await stat(join(dir, 'file'))).atimeMs).toBe(1000)
    expect(await viaHelper('remount,atime')).toMatchObject({ exitCode: 0, stderr: '' })
    expect(mountedAt(dir)?.options).toEqual(expect.arrayContaining(['rw', 'noexec', 'relatime']))
    await readFile(join(dir, 'file'))
    expect((await stat(join(dir, 'file'))).atimeMs).toBeGreaterThan(1000)
    const file = await open(join(dir, 'file'), 'r+')
    const busy = await viaHelper('remount,ro')
    expect(busy.stderr).toMatch(/does not change the flags of .*: files are open for writing/)
    await file.close()
  })
})

test('a mount that was opened read-only does not become writable', async () => {
  await withMount({}, async mount => {
    await mount.remount(['ro'])
    const refused = await runZblkfs('mount', mount.db, mount.dir, '-o', 'remount,rw')
    expect(refused.stderr).toMatch(/was opened read-only: unmount it, and mount it for writing/)
    expect(refused.exitCode).toBe(1)
  })
})
