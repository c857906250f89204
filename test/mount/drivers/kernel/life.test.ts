/** How mounts begin and end, and what they leave behind after failures. */
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  mkdirSync,
  statSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { unmount } from '../../../../mount/mount-points/unmount.ts'
import { mountedAt } from '../../../../mount/mount-points/mount-table.ts'
import { ServedMount } from './served-mount.ts'

const NOBODY = 65534

let directory: string
const mounts: ServedMount[] = []
const children: ChildProcessWithoutNullStreams[] = []
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'zblkfs-kernel-life-'))
})
afterEach(async () => {
  for (const mount of mounts.splice(0)) await mount.stop()
  for (const child of children.splice(0)) child.kill('SIGKILL')
  rmSync(directory, { recursive: true, force: true })
})

async function start(options?: Parameters<typeof ServedMount.start>[0]): Promise<ServedMount> {
  const mount = await ServedMount.start(options)
  mounts.push(mount)
  return mount
}

/** Starts a program that is ended after the test, whatever became of it. */
function launch(command: string, parameters: readonly string[]): ChildProcessWithoutNullStreams {
  const child = spawn(command, parameters)
  children.push(child)
  return child
}

describe('mounting as root', () => {
  test('the kernel lists the mount by its source, nosuid and nodev', async () => {
    const mount = await start({ source: '/some where/a,b.zblk' })
    const entry = mountedAt(mount.path)
    expect(entry).toMatchObject({ type: 'fuse.zblkfs', source: '/some where/a,b.zblk' })
    const line = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find(line => line.includes(mount.path))
    expect(line).toContain('nosuid,nodev')
    expect(readFileSync(`/sys/class/bdi/${entry?.device}/read_ahead_kb`, 'utf8')).toBe('1024\n')
  })

  test('suid, dev and ro are applied on request', async () => {
    const mount = await start({ suid: true, dev: true, readOnly: true })
    const line = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .find(line => line.includes(mount.path))
    expect(line).not.toMatch(/nosuid|nodev/)
    expect(() => mount.run('touch x')).toThrow(/Read-only file system/)
  })

  test('it is private without allow_other', async () => {
    const mount = await start()
    expect(() => mount.run('ls', { uid: NOBODY })).toThrow(/Permission denied/)
  })

  test('a symbolic link to a directory is followed', async () => {
    mkdirSync(join(directory, 'real'))
    symlinkSync('real', join(directory, 'link'))
    const mount = await start({ mountPoint: join(directory, 'link') })
    expect(mountedAt(join(directory, 'real'))?.type).toBe('fuse.zblkfs')
    await mount.order({ do: 'unmount' })
  })
})

describe('mount points that are refused', () => {
  const refused = (mountPoint: string) => ServedMount.start({ mountPoint })

  test('a missing one', async () => {
    await expect(refused(join(directory, 'none'))).rejects.toThrow(
      /none does not exist: create it with 'mkdir/,
    )
    await expect(refused(join(directory, 'none/deep'))).rejects.toThrow(/deep does not exist/)
  })

  test('a file', async () => {
    writeFileSync(join(directory, 'file'), '')
    await expect(refused(join(directory, 'file'))).rejects.toThrow(/is not a directory/)
  })

  test('one with entries, unless nonempty is given', async () => {
    writeFileSync(join(directory, 'file'), '')
    await expect(refused(directory)).rejects.toThrow(/is not empty/)
    const mount = await start({ mountPoint: directory, nonEmpty: true })
    await mount.order({ do: 'unmount' })
  })

  test('one that is already mounted, and one whose server has died', async () => {
    const mount = await start()
    await expect(refused(mount.path)).rejects.toThrow(/already mounted \(memory\)/)
    const exit = once(mount.server, 'exit')
    mount.server.kill('SIGKILL')
    await exit
    await expect(refused(mount.path)).rejects.toThrow(/already mounted/)
  })
})

describe('an ordinary user', () => {
  // Everybody may open /dev/fuse wherever udev or systemd made it; a container's may be root's alone.
  const { mode } = statSync('/dev/fuse')
  beforeAll(() => chmodSync('/dev/fuse', 0o666))
  afterAll(() => chmodSync('/dev/fuse', mode & 0o777))

  test('mounts, uses and unmounts', async () => {
    const mount = await start({ uid: NOBODY, source: '/home/a,b\\c.zblk' })
    expect(mountedAt(mount.path)).toMatchObject({ type: 'fuse.zblkfs', source: '/home/a,b\\c.zblk' })
    const asUser = { uid: NOBODY }
    expect(mount.run('echo hello > f; cat f; stat -c %u f', asUser)).toBe('hello\n65534\n')
    expect(() => mount.run('ls')).toThrow(/Permission denied/)
    await mount.order({ do: 'unmount' })
    expect(mountedAt(mount.path)).toBeUndefined()
  })

  test('gets an error that names user_allow_other', async () => {
    await expect(ServedMount.start({ uid: NOBODY, allowOther: true })).rejects.toThrow(
      /unless \/etc\/fuse.conf has the line 'user_allow_other'/,
    )
  })

  test('gets an error that names the package fuse3 if fusermount3 is missing', async () => {
    await expect(ServedMount.start({ uid: NOBODY, searchPath: '/nowhere' })).rejects.toThrow(
      /fusermount3 cannot be run \(.*ENOENT\)/,
    )
  })

  test('gets an error that names the device if /dev/fuse may not be opened', async () => {
    chmodSync('/dev/fuse', 0o600)
    try {
      await expect(ServedMount.start({ uid: NOBODY })).rejects.toThrow(
        '/dev/fuse may not be opened by this user',
      )
    } finally {
      chmodSync('/dev/fuse', 0o666)
    }
  })

  test('cannot mount on a directory of another user', async () => {
    await expect(ServedMount.start({ uid: NOBODY, mountPoint: '/mnt' })).rejects.toThrow(
      /fusermount3 cannot mount \/mnt|cannot be listed|not empty/,
    )
  })

  test('gets an error if a mount is in use', async () => {
    const mount = await start({ uid: NOBODY })
    const holder = launch('setpriv', [
      `--reuid=${NOBODY}`,
      `--regid=${NOBODY}`,
      '--clear-groups',
      'bash',
      '-c',
      `cd ${mount.path}; echo in; sleep 60`,
    ])
    await once(holder.stdout, 'data')
    await expect(mount.order({ do: 'unmount' })).rejects.toThrow(/is in use by process/)
    holder.kill('SIGKILL')
  })
})

describe('unmounting', () => {
  test('a mount in use is refused, a lazy unmount ends with its last user', async () => {
    const mount = await start()
    const holder = launch('bash', ['-c', `cd ${mount.path}; echo in; read; touch last; ls`])
    await once(holder.stdout, 'data')
    await expect(mount.order({ do: 'unmount' })).rejects.toThrow(/is in use by process/)
    const unmounted = mount.order({ do: 'unmount', lazy: true })
    await sleep(100)
    expect(mountedAt(mount.path)).toBeUndefined()
    expect(mount.server.exitCode).toBeNull()
    holder.stdin.write('\n')
    const [listed] = (await once(holder.stdout, 'data')) as [Buffer]
    expect(String(listed)).toBe('last\n')
    await unmounted
  })

  test('the server ends when another process unmounts', async () => {
    const mount = await start()
    mount.run('echo x > f')
    const exit = once(mount.server, 'exit')
    expect(spawnSync('umount', [mount.path]).status).toBe(0)
    expect(await exit).toEqual([0, null])
  })
})

describe('a server that fails', () => {
  test('killed: waiting processes get an error, and the mount can be removed', async () => {
    const mount = await start()
    mount.run('echo x > f')
    await mount.order({ do: 'hold-fsync' })
    const waiting = launch('bash', ['-c', `sync ${mount.path}/f 2>&1 || echo failed`])
    await sleep(300)
    const exit = once(mount.server, 'exit')
    mount.server.kill('SIGKILL')
    expect(await text(waiting.stdout)).toMatch(/failed/)
    await exit
    expect(() => mount.run('ls')).toThrow(/not connected/)
    expect(spawnSync('umount', [mount.path]).status).toBe(0)
  })

  test('stopped: a forced unmount ends all waiting', async () => {
    const mount = await start()
    mount.server.kill('SIGSTOP')
    const waiting = launch('timeout', ['20', 'stat', `${mount.path}/f`])
    const exit = once(waiting, 'exit')
    await sleep(200)
    await unmount(mountedAt(mount.path)!, 'force')
    expect(mountedAt(mount.path)).toBeUndefined()
    expect((await exit)[0]).toBe(1)
    const end = once(mount.server, 'exit')
    mount.server.kill('SIGCONT')
    expect(await end).toEqual([0, null])
  })

  test('a killed process does not wait for a slow fsync', async () => {
    const mount = await start()
    mount.run('echo x > f')
    await mount.order({ do: 'hold-fsync' })
    const waiting = launch('sync', [`${mount.path}/f`])
    const exit = once(waiting, 'exit')
    await sleep(300)
    waiting.kill('SIGKILL')
    expect(await exit).toEqual([null, 'SIGKILL'])
    expect(mount.run('cat f')).toBe('x\n')
    await mount.order({ do: 'release-fsync' })
  })

  test('a signal that does not kill does not interrupt an fsync', async () => {
    const mount = await start()
    mount.run('echo x > f')
    await mount.order({ do: 'hold-fsync' })
    const waiting = launch('python3', [
      '-c',
      'import os, signal, sys; signal.signal(signal.SIGUSR1, lambda *_: None); ' +
        `fd = os.open('${mount.path}/f', os.O_RDWR); print('open', flush=True); os.fsync(fd); print('synced')`,
    ])
    await once(waiting.stdout, 'data')
    await sleep(300)
    waiting.kill('SIGUSR1')
    await sleep(200)
    expect(waiting.exitCode).toBeNull()
    await mount.order({ do: 'release-fsync' })
    const [output] = (await once(waiting.stdout, 'data')) as [Buffer]
    expect(String(output)).toMatch(/^synced/)
  })
})
