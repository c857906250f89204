import { appendFileSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lchown, open, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { isRunning } from '../../mount/daemon/is-running.ts'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { logPathFor } from '../../scripts/log-file.ts'
import { runProgram, runZblkfs } from '../tools/run-zblkfs.ts'
import { withMount } from '../tools/mounted.ts'

const DRIVERS = ['kernel', 'fuse-native'] as const

/** In a mount namespace of its own: keeps its copy of one mount, and none of those that other tests have meanwhile. */
const KEEP_ONE = `
  awk -v kept="$1" '$3 ~ /^fuse/ && $2 != kept { print $2 }' /proc/self/mounts |
    while read -r other; do umount -l "$other"; done
  echo; exec sleep 60`

describe.each(DRIVERS)('with the driver %s', driver => {
  test('umount of a mount in use fails with a remedy; -l detaches it, and its users continue', async () => {
    await withMount({ driver }, async mount => {
      const file = await open(join(mount.dir, 'file'), 'w+')
      await file.write('before')
      const refused = await runZblkfs('umount', mount.dir)
      expect(refused).toMatchObject({ exitCode: 1, stdout: '' })
      expect(refused.stderr).toMatch(/is in use.*zblkfs umount -l/)
      const lazy = await runZblkfs('umount', '-l', mount.dir)
      expect(lazy).toMatchObject({ exitCode: 0, stderr: '' })
      expect(lazy.stdout).toMatch(/all is stored.*serves the processes that still use it/)
      expect(mountedAt(mount.dir)).toBeUndefined()
      await file.write(' after')
      const pid = mount.pid()
      await file.close()
      await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false)
      await mount.remount()
      expect(await readFile(join(mount.dir, 'file'), 'utf8')).toBe('before after')
    })
  })

  test('after umount -l a signal ends the daemon without unmounting a later mount', async () => {
    await withMount({ driver }, async mount => {
      const file = await open(join(mount.dir, 'file'), 'w+')
      try {
        await file.write('kept')
        const pid = mount.pid()
        expect(await runZblkfs('umount', '-l', mount.dir)).toMatchObject({ exitCode: 0 })
        const other = await runZblkfs('mount', join(mount.scratch, 'other.zblk'), mount.dir)
        expect(other).toMatchObject({ exitCode: 0, stderr: '' })
        process.kill(pid, 'SIGTERM')
        await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false)
        expect(mountedAt(mount.dir)?.source).toBe(join(mount.scratch, 'other.zblk'))
      } finally {
        await file.close().catch(() => {})
      }
      expect(await runZblkfs('umount', mount.dir)).toMatchObject({ exitCode: 0 })
      await mount.remount()
      expect(await readFile(join(mount.dir, 'file'), 'utf8')).toBe('kept')
    })
  })

  test('a mount copied to another mount namespace is unmounted, and a signal ends its daemon', async () => {
    await withMount({ driver }, async mount => {
      const others = spawn('unshare', [
        '-m',
        '--propagation',
        'private',
        'sh',
        '-c',
        KEEP_ONE,
        'sh',
        mount.dir,
      ])
      await once(others.stdout, 'data')
      try {
        await writeFile(join(mount.dir, 'file'), 'kept')
        const unmounted = await runZblkfs('umount', mount.dir)
        expect(unmounted).toMatchObject({ exitCode: 0, stderr: '' })
        expect(unmounted.stdout).toContain('another mount namespace has a copy')
        expect(mountedAt(mount.dir)).toBeUndefined()
        process.kill(mount.pid(), 'SIGTERM')
        await expect.poll(() => isRunning(mount.pid()), { timeout: 20_000 }).toBe(false)
      } finally {
        others.kill()
      }
      await mount.remount()
      expect(await readFile(join(mount.dir, 'file'), 'utf8')).toBe('kept')
    })
  })

  test('umount(8) and fusermount3 store and end the daemon too', async () => {
    await withMount({ driver }, async mount => {
      for (const command of [
        ['umount', mount.dir],
        ['fusermount3', '-u', mount.dir],
      ]) {
        const [program = '', ...parameters] = command
        await writeFile(join(mount.dir, program), program)
        expect(await runProgram(program, parameters)).toMatchObject({ exitCode: 0 })
        const pid = mount.pid()
        await expect.poll(() => isRunning(pid), { timeout: 10_000 }).toBe(false)
        await mount.remount()
        expect(await readFile(join(mount.dir, program), 'utf8')).toBe(program)
      }
    })
  })

  test('SIGTERM stores and unmounts, in use or not', async () => {
    await withMount({ driver }, async mount => {
      const file = await open(join(mount.dir, 'file'), 'w+')
      try {
        await file.write('kept')
        process.kill(mount.pid(), 'SIGTERM')
        await expect.poll(() => isRunning(mount.pid()), { timeout: 10_000 }).toBe(false)
        expect(mountedAt(mount.dir)).toBeUndefined()
      } finally {
        await file.close().catch(() => {})
      }
      await mount.remount()
      expect(await readFile(join(mount.dir, 'file'), 'utf8')).toBe('kept')
    })
  })

  test('status reports a stopped daemon within seconds, and umount -l does not wait for it', async () => {
    await withMount({ driver }, async mount => {
      await writeFile(join(mount.dir, 'file'), 'kept')
      process.kill(mount.pid(), 'SIGSTOP')
      const status = await runProgram('timeout', ['10', process.execPath, ...statusCommand])
      expect(status.exitCode).toBe(0)
      expect(find(status.stdout, mount.dir)).toMatchObject({ state: 'silent' })
      const lazy = await runZblkfs('umount', '-l', mount.dir)
      expect(lazy).toMatchObject({ exitCode: 0, stderr: '' })
      expect(lazy.stdout).toMatch(/does not answer/)
      expect(mountedAt(mount.dir)).toBeUndefined()
      process.kill(mount.pid(), 'SIGCONT')
      await expect.poll(() => isRunning(mount.pid()), { timeout: 10_000 }).toBe(false)
      await mount.remount()
      expect(await readFile(join(mount.dir, 'file'), 'utf8')).toBe('kept')
    })
  })

  test('umount -f of a mount whose daemon is stopped ends waiting processes without data loss', async () => {
    await withMount({ driver }, async mount => {
      await writeFile(join(mount.dir, 'file'), 'kept')
      process.kill(mount.pid(), 'SIGSTOP')
      const waiting = runProgram('timeout', ['60', 'stat', join(mount.dir, 'other')])
      const forced = await runZblkfs('umount', '-f', mount.dir)
      expect(forced).toMatchObject({ exitCode: 0, stderr: '' })
      expect(forced.stdout).toMatch(/does not answer, and stores its changes when it continues/)
      expect((await waiting).exitCode).toBe(1)
      expect(mountedAt(mount.dir)).toBeUndefined()
      process.kill(mount.pid(), 'SIGCONT')
      await expect.poll(() => isRunning(mount.pid()), { timeout: 10_000 }).toBe(false)
      await mount.remount()
      expect(await readFile(join(mount.dir, 'file'), 'utf8')).toBe('kept')
    })
  })

  test('a killed daemon is reported by status, its mount removed by umount, and the database mounted again', async () => {
    await withMount({ driver }, async mount => {
      await writeFile(join(mount.dir, 'file'), 'kept')
      const { stdout: tid } = await runZblkfs('sync', mount.dir, '-m', 'before the crash')
      expect(tid).toMatch(/^[0-9a-f]{16}\n$/)
      process.kill(mount.pid(), 'SIGKILL')
      await expect.poll(() => isRunning(mount.pid()), { timeout: 10_000 }).toBe(false)
      const status = await runZblkfs('status', '--json')
      expect(find(status.stdout, mount.dir)).toMatchObject({ state: 'gone', reason: 'the daemon is gone' })
      // What Node prints before it ends is no JSON.
      const log = logPathFor(mount.dir)
      for (const [line, shown] of [
        [
          '{"level":50,"time":"2026-01-01T00:00:00Z","err":{"message":"why"},"msg":"it failed"}',
          '2026-01-01T00:00:00Z: it failed (why)',
        ],
        ['FATAL ERROR: out of memory', 'FATAL ERROR: out of memory'],
      ] as const) {
        appendFileSync(log, `${line}\n`)
        expect((await runZblkfs('status')).stdout).toContain(`${shown}; see ${log}`)
      }
      expect((await runZblkfs('sync', mount.dir)).stderr).toMatch(
        /the daemon is gone; remove the dead mount with/,
      )
      const taken = await runZblkfs('umount', mount.dir)
      expect(taken).toMatchObject({ exitCode: 0 })
      expect(taken.stdout).toMatch(/its daemon had died/)
      await mount.remount()
      expect(await readFile(join(mount.dir, 'file'), 'utf8')).toBe('kept')
    })
  })
})

test('a mount whose control socket was replaced by a link is unmounted without a call, and says so', async () => {
  await withMount({}, async mount => {
    await writeFile(join(mount.dir, 'file'), 'kept')
    const { device = '' } = mountedAt(mount.dir) ?? {}
    const [socket = ''] = await controlPaths(device, process.getuid?.() ?? 0)
    await rename(socket, join(mount.scratch, 'socket'))
    await symlink(join(mount.scratch, 'socket'), socket)
    try {
      const sync = await runZblkfs('sync', mount.dir)
      expect(sync).toMatchObject({ exitCode: 1 })
      expect(sync.stderr).toContain(
        `its daemon cannot be called: ${socket} is a symbolic link; unmount it with`,
      )
      expect((await runZblkfs('status')).stdout).toContain(
        `${socket} is a symbolic link; 'zblkfs umount ${mount.dir}' removes it`,
      )
      const user = await open(join(mount.dir, 'file'))
      const inUse = await runZblkfs('umount', mount.dir)
      expect(inUse).toMatchObject({ exitCode: 1 })
      expect(inUse.stderr).toMatch(/is in use by process/)
      await user.close()
      const unmounted = await runZblkfs('umount', mount.dir)
      expect(unmounted).toMatchObject({ exitCode: 0 })
      expect(unmounted.stdout).toBe(
        `${mount.dir} is unmounted; its daemon cannot be called: ${socket} is a symbolic link. If it runs, it stores its changes and ends\n`,
      )
      await expect.poll(() => isRunning(mount.pid()), { timeout: 10_000 }).toBe(false)
    } finally {
      await rm(socket, { force: true })
    }
    await mount.remount()
    expect(await readFile(join(mount.dir, 'file'), 'utf8')).toBe('kept')
  })
})

test.runIf(process.getuid?.() === 0)('a link of another user leads to no mount of root', async () => {
  await withMount({}, async mount => {
    const link = join(mount.scratch, 'link')
    await symlink(mount.scratch, link)
    await lchown(link, 65_534, 65_534)
    const path = join(link, 'mnt')
    const refused = async (...command: readonly string[]): Promise<void> => {
      const result = await runZblkfs(...command)
      expect({ command, ...result }).toMatchObject({ stdout: '', exitCode: command[0] === 'fsck' ? 4 : 1 })
      expect(result.stderr).toMatch(
        new RegExp(
          `leads to \\S+ by ${link}, a symbolic link of user 65534: nothing was done; if you mean that, name /`,
        ),
      )
    }
    for (const how of [[], ['-l'], ['-f']]) {
      await refused('umount', ...how, path)
      expect(mountedAt(mount.dir)).toBeDefined()
    }
    const { stdout: before } = await runZblkfs('sync', mount.dir)
    const file = join(path, 'file')
    const database = join(link, 'db')
    const commands = [
      ['tag', 'x', '--db', database],
      ['undo', before.trim(), '--db', path],
      ['pack', path, '--keep', '0'],
      ['history', path, '--keep', '0'],
      ['branch', path, 'x'],
      ['merge', path, 'x'],
      ['key', database, '--change'],
      ['receive', database, '/dev/null'],
      ['fsck', database, '--repair'],
      ['restore', file, '--at', before.trim()],
      ['restore', join(mount.dir, 'file'), '--at', before.trim(), '--to', join(path, 'copy')],
      ['clone', join(mount.dir, 'file'), join(path, 'copy')],
      ['txn', path, '--', 'true'],
      ['web', path],
      ['serve', path, '--webdav', '--no-password'],
      ['mount', mount.db, path, '-o', 'remount,suid'],
    ]
    for (const command of commands) await refused(...command)
    expect((await runZblkfs('sync', mount.dir)).stdout).toBe(before)
    // What only reads follows it, and so does everything once the link is root's.
    for (const command of [
      ['log', path],
      ['df', path],
      ['stats', path],
      ['pack', '-n', path],
      ['history', path],
    ])
      expect(await runZblkfs(...command)).toMatchObject({ exitCode: 0 })
    await lchown(link, 0, 0)
    expect(await runZblkfs('umount', path)).toMatchObject({ exitCode: 0 })
    expect(mountedAt(mount.dir)).toBeUndefined()
  })
})

test('a directory that is not a mount is reported, with a hint', async () => {
  for (const command of ['umount', 'sync']) {
    const result = await runZblkfs(command, '/usr')
    expect(result).toMatchObject({ exitCode: 1, stdout: '' })
    expect(result.stderr).toMatch(/\/usr is not in a zblkfs mount: 'zblkfs status' lists the mounts/)
  }
})

test('sync accepts any path in the mount, and a symbolic link to it', async () => {
  await withMount({}, async mount => {
    await writeFile(join(mount.dir, 'file'), 'x')
    const link = join(mount.scratch, 'link')
    await runProgram('ln', ['-s', mount.dir, link])
    for (const path of [mount.dir, join(mount.dir, 'file'), link])
      expect((await runZblkfs('sync', path)).stdout).toMatch(/^[0-9a-f]{16}\n$/)
  })
})

test('status prints the facts of a mount, aligned, and one line per mount with -z', async () => {
  await withMount({}, async mount => {
    const { stdout, exitCode } = await runZblkfs('status')
    expect(exitCode).toBe(0)
    const block = stdout.split('\n\n').find(text => text.startsWith(`${mount.dir}\n`)) ?? ''
    expect(block.trimEnd().split('\n').slice(1)).toEqual([
      `  database     ${mount.db}`,
      expect.stringMatching(/^ {2}state {8}writable, driver (kernel|fuse-native), since /),
      expect.stringMatching(/^ {2}transaction {2}[0-9a-f]{16}$/),
      '  history      kept: 7d',
      expect.stringMatching(/^ {2}daemon {7}process \d+, \d+(\.\d)? MiB$/),
    ])
    const zero = (await runZblkfs('status', '-z')).stdout.split('\0')
    expect(zero.filter(line => line.startsWith(`${mount.dir}  `))).toHaveLength(1)
  })
})

const statusCommand = [join(import.meta.dirname, '../../scripts/main.ts'), 'status', '--json']

function find(json: string, directory: string): unknown {
  const lines = JSON.parse(json) as readonly { readonly directory: string }[]
  return lines.find(line => line.directory === directory)
}
