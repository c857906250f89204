/** Mounting and unmounting take the place and the mount that were looked up, whatever the path leads to by the time of the system call. */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { isRunning } from '../../../mount/daemon/is-running.ts'
import { mountedAt, type MountedDirectory, mountTable } from '../../../mount/mount-points/mount-table.ts'
import { OwnMount } from '../../../mount/mount-points/own-mount.ts'
import { unmount } from '../../../mount/mount-points/unmount.ts'
import { MountError } from '../../../mount/drivers/driver.ts'
import { mountAsRoot } from '../../../mount/drivers/kernel/mount-as-root.ts'

const ROUNDS = 100
const HOW = ['whole', 'lazy', 'force'] as const

const PREFIX = join(realpathSync(tmpdir()), 'zblkfs-unmount-')

// A run that was killed leaves its mounts: the directory's name has its process.
beforeAll(() => {
  for (const { mountPoint } of mountTable()) {
    const [, place, pid] = /^(.*-(\d+)-\w+)\//.exec(mountPoint) ?? []
    if (place === undefined || !place.startsWith(PREFIX) || isRunning(Number(pid))) continue
    execFileSync('umount', ['-l', mountPoint])
    rmSync(place, { recursive: true, force: true })
  }
})

let directory: string
beforeEach(() => {
  directory = mkdtempSync(`${PREFIX}${process.pid}-`)
  for (const name of ['attacker', 'victim']) mkdirSync(join(directory, name, 'm'), { recursive: true })
})
afterEach(() => {
  const left = (): MountedDirectory | undefined =>
    mountTable().find(({ mountPoint }) => mountPoint.startsWith(`${directory}/`))
  // A process that swaps directories may have just been killed: a path may be another by now.
  for (let tries = 0, mount = left(); mount !== undefined && tries < 20; tries++, mount = left())
    spawnSync('umount', ['-l', mount.mountPoint])
  rmSync(directory, { recursive: true, force: true })
})

/** Mounts a filesystem that serves itself, as the kernel does not care which one is unmounted. */
function mountAt(path: string): MountedDirectory {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'test', path])
  const mount = mountedAt(path)
  if (mount === undefined) throw new Error(`${path} is not mounted`)
  return mount
}

const isMounted = ({ id }: MountedDirectory): boolean => mountTable().some(each => each.id === id)

/** Moves the attacker's directory away and puts a link to the victim's into its place. */
function swap(): void {
  renameSync(join(directory, 'attacker'), join(directory, 'aside'))
  symlinkSync('victim', join(directory, 'attacker'))
}

/** A process that swaps the directory and a link to the victim's in a loop, as fast as it can. */
const SWAPPING = `
import os, sys
os.chdir(sys.argv[1])
os.symlink('victim', 'link')
print(flush=True)
while True:
    os.rename('attacker', 'aside')
    os.rename('link', 'attacker')
    os.rename('attacker', 'link')
    os.rename('aside', 'attacker')
`

describe.runIf(process.getuid?.() === 0)('as root', () => {
  test.each(HOW)('%s: a mount whose path now leads to another mount is kept, as is the other', async how => {
    const named = mountAt(join(directory, 'attacker/m'))
    const victim = mountAt(join(directory, 'victim/m'))
    swap()
    await expect(unmount(named, how)).rejects.toThrow(MountError)
    expect([named, victim].map(isMounted)).toEqual([true, true])
  })

  test.each(HOW)('%s: a link in the place of a mount point is not followed', async how => {
    const named = mountAt(join(directory, 'attacker/m'))
    const victim = mountAt(join(directory, 'victim/m'))
    execFileSync('umount', [named.mountPoint])
    rmSync(named.mountPoint, { recursive: true })
    symlinkSync('../victim/m', named.mountPoint)
    await expect(unmount(named, how)).rejects.toThrow(MountError)
    expect(isMounted(victim)).toBe(true)
  })

  test.each(HOW)(
    '%s: with two mounts at one place the covered one is not mistaken for the upper one',
    async how => {
      const covered = mountAt(join(directory, 'attacker/m'))
      const upper = mountAt(join(directory, 'attacker/m'))
      await expect(unmount(covered, how)).rejects.toThrow(/another tmpfs mount/)
      await unmount(upper, how)
      await unmount(covered, how)
      expect([covered, upper].map(isMounted)).toEqual([false, false])
    },
  )

  test('calls at the same time all end once the mount is gone', async () => {
    const mount = mountAt(join(directory, 'attacker/m'))
    const own = new OwnMount(mount.mountPoint, Promise.resolve())
    await Promise.all([own.unmount(false), own.unmount(true), own.unmount(false)])
    expect(isMounted(mount)).toBe(false)
  })

  test.each(HOW)('%s: a path that is swapped all the time takes no other mount away', async how => {
    const victim = mountAt(join(directory, 'victim/m'))
    let named = mountAt(join(directory, 'attacker/m'))
    const swapping = spawn('python3', ['-c', SWAPPING, directory])
    try {
      await once(swapping.stdout, 'data')
      const outcomes = { unmounted: 0, refused: 0 }
      for (let round = 0; round < ROUNDS || outcomes.unmounted === 0 || outcomes.refused === 0; round++) {
        try {
          await unmount(named, how)
          outcomes.unmounted++
        } catch (error) {
          expect(error).toBeInstanceOf(MountError)
          outcomes.refused++
        }
        expect(isMounted(victim), `round ${round}`).toBe(true)
        if (!isMounted(named)) named = mountSwapped()
      }
    } finally {
      swapping.kill('SIGKILL')
    }
  })

  test.each(['m', '.'])('nothing is mounted at a path that leads elsewhere by now (%s)', name => {
    const path = join(directory, 'attacker', name)
    swap()
    const options = { mountPoint: path, source: 'test', log: pino({ level: 'silent' }) }
    expect(() => mountAsRoot(path, options)).toThrow(MountError)
    expect(mountTable().some(({ mountPoint }) => mountPoint.startsWith(directory))).toBe(false)
  })

  test('a busy mount names the process that uses it', async () => {
    const named = mountAt(join(directory, 'attacker/m'))
    const user = spawn('sleep', ['60'], { cwd: named.mountPoint })
    try {
      await once(user, 'spawn')
      await expect(unmount(named, 'whole')).rejects.toThrow(`is in use by process ${user.pid} (`)
    } finally {
      user.kill('SIGKILL')
    }
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toContain(named.mountPoint)
  })
})

/** Mounts in the attacker's directory, wherever it is, as it would be named where it belongs. */
function mountSwapped(): MountedDirectory {
  for (;;) {
    const before = new Set(mountTable().map(({ id }) => id))
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'test', join(directory, 'attacker/m')], {
        stdio: 'ignore',
      })
    } catch {
      continue
    }
    const made = mountTable().find(({ id }) => !before.has(id))
    if (made === undefined) continue
    // It came to lie over the victim's.
    if (!made.mountPoint.startsWith(join(directory, 'victim')))
      return { ...made, mountPoint: join(directory, 'attacker/m') }
    execFileSync('umount', [made.mountPoint])
  }
}
